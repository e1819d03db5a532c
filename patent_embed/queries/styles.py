"""Who asks a query, in whose words, from which side: drawn for each patent from a mix, and said to the model.

Raise PROMPT_VERSION (``patent_embed/queries/prompts.py``) with every change of wording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

from patent_embed.config.mix import Difficulty, MixConfig
from patent_embed.hashing import hash64

DIFFICULTIES: tuple[str, ...] = get_args(Difficulty)
_TEXTS: dict[str, dict[str, dict[str, str]]] = {
    "zh": {
        "persona": {
            "examiner": "专利审查员，要找能影响新颖性的对比文件，用语严谨，列出区别特征",
            "engineer": "一线工程师，正在解决手头的技术难题，用行业口语和缩写",
            "layman": "没有技术背景的普通人，只会用日常说法",
            "attorney": "专利代理师，关心权利要求的范围，用概括性的上位概念",
        },
        "difficulty": {
            "shares_words": "可以使用摘要里的术语",
            "paraphrases": "换一种说法，尽量不用摘要里出现过的词，用同义词、上位词或俗称",
            "effect_only": "只说要达到的效果或要避免的问题，不提任何结构、材料或步骤，也不用摘要里的词",
        },
        "view": {
            "problem": "要解决的问题",
            "mechanism": "工作原理和结构怎样起作用",
            "use": "使用场合和用途",
            "claim": "技术方案的必要特征",
        },
    },
    "en": {
        "persona": {
            "examiner": "a patent examiner after documents that anticipate a claim; exact, naming what is distinct",
            "engineer": "an engineer with this problem on the bench; the trade's own short words",
            "layman": "somebody without any training in the field; everyday words only",
            "attorney": "a patent attorney who thinks of the scope of claims; general terms that cover variants",
        },
        "difficulty": {
            "shares_words": "terms of the abstract may be used",
            "paraphrases": "other words than the abstract's: synonyms, broader terms or colloquial names",
            "effect_only": "only what is to be achieved or avoided; no structure, material or step, and none of the "
            "abstract's words",
        },
        "view": {
            "problem": "the problem to be solved",
            "mechanism": "how it works and why",
            "use": "where and what it is used for",
            "claim": "the features that the solution cannot do without",
        },
    },
}
_LABELS = {
    "zh": {"persona": "提问的人", "difficulty": "用词", "view": "角度"},
    "en": {"persona": "Who asks", "difficulty": "Wording", "view": "Point of view"},
}


@dataclass(frozen=True)
class Style:
    """How a query is to be asked; empty: nothing is said of it."""

    persona: str = ""
    difficulty: str = ""
    view: str = ""

    def __bool__(self) -> bool:
        return bool(self.persona or self.difficulty or self.view)

    def parts(self) -> list[tuple[str, str]]:
        """Names and values of its parts."""
        return [(name, value) for name, value in asdict(self).items() if value]

    def moved(self, harder: bool) -> Style:
        """One step away from the abstract's words, or back to them; what is at the end stays there."""
        place = DIFFICULTIES.index(self.difficulty) if self.difficulty else 1 if not harder else 0
        place = min(max(place + (1 if harder else -1), 0), len(DIFFICULTIES) - 1)
        return replace(self, difficulty=DIFFICULTIES[place])


def choose_style(publication_number: str, query_no: int, mix: MixConfig, seed: int) -> Style:
    """The style of a patent's query: the mix in the large, fixed for each patent, different for its first queries.

    The three parts are drawn independently of one another.
    """
    drawn: dict[str, Mapping[Any, float]] = {"persona": mix.personas, "difficulty": mix.difficulties, "view": mix.views}
    return Style(**{name: _drawn(publication_number, query_no, weights, name, seed) for name, weights in drawn.items()})


def _drawn(number: str, query_no: int, weights: Mapping[Any, float], name: str, seed: int) -> str:
    names = sorted(each for each in weights if weights[each] > 0)
    if not names:
        return ""
    position = hash64(number, seed, f"query {name}") / 2**64 * sum(weights[each] for each in names)
    first = 0
    while first < len(names) - 1 and position >= weights[names[first]]:
        position -= weights[names[first]]
        first += 1
    return str(names[(first + query_no) % len(names)])


def style_text(style: Style, language: str) -> str:
    """What a model is told of a style: a line for each of its parts. ``language``: of the prompt, ``zh`` or ``en``."""
    return "".join(f"\n{_LABELS[language][name]}: {_TEXTS[language][name][value]}" for name, value in style.parts())
