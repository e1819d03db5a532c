"""What a judge is controlled by: planted pairs whose answer is known, and how many of them it gets right.

Queries of planted pairs are lifted from abstracts by the rules, so that a poor writer does not make a judge look poor.
A relevant one is asked of another member of the family, and, where families are too few, of its own patent; an
unrelated one of a patent that shares no section of the classification. Both are easy: who fails here is no judge, who
passes has not shown that it tells near misses apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from patent_embed.config.judge import JudgeConfig
from patent_embed.hashing import hash64
from patent_embed.queries.asking import Patent
from patent_embed.queries.prompts import prompt_language
from patent_embed.queries.rules import rule_query

LEAST_PLANTED = 10  # pairs of each kind: with fewer, a share says nothing
_LOOKED_AT = 200  # patents for one of another section


class Pair(NamedTuple):
    """A query, and a patent that is to be graded for it."""

    query: str
    patent: Patent


@dataclass(frozen=True)
class Planted:
    """Pairs whose answer is known; the first ``families`` of the relevant ones are of two members of a family."""

    relevant: Sequence[Pair]
    unrelated: Sequence[Pair]
    families: int

    @property
    def pairs(self) -> list[Pair]:
        """All of them, the relevant ones first."""
        return [*self.relevant, *self.unrelated]


@dataclass(frozen=True)
class Control:
    """How a judge graded planted pairs.

    Attributes:
        relevant, unrelated: pairs of each kind; ``families`` of the relevant ones are of families.
        found, taken: those that it called answers: rightly, and wrongly. A pair without a grade is none.
        ungraded: of both kinds.
    """

    relevant: int
    unrelated: int
    families: int
    found: int
    taken: int
    ungraded: int

    @classmethod
    def of(cls, planted: Planted, grades: Sequence[int | None], answer_grade: int) -> Control:
        """``grades``: of ``planted.pairs``."""
        said = [grade is not None and grade >= answer_grade for grade in grades]
        relevant = len(planted.relevant)
        return cls(
            relevant=relevant,
            unrelated=len(planted.unrelated),
            families=planted.families,
            found=sum(said[:relevant]),
            taken=sum(said[relevant:]),
            ungraded=sum(grade is None for grade in grades),
        )

    @property
    def precision(self) -> float:
        """Share of relevant pairs among those called answers, where as many of both kinds are planted; 0 without any.

        Where one kind is rarer, its pairs count for more: precision then says the same of the judge."""
        found, taken = self.recall, self.taken / max(self.unrelated, 1)
        return found / (found + taken) if found else 0.0

    @property
    def recall(self) -> float:
        """Share of the relevant pairs that were called answers."""
        return self.found / max(self.relevant, 1)

    def shortcoming(self, config: JudgeConfig) -> str:
        """Why the judge's grades are not used; empty: they are."""
        if min(self.relevant, self.unrelated) < LEAST_PLANTED:
            return (
                f"only {self.relevant} relevant and {self.unrelated} unrelated pairs can be planted, and "
                f"{LEAST_PLANTED} of each are needed to control it"
            )
        if self.precision < config.min_precision:
            return f"precision {self.precision:.2f} is below queries.judge.min_precision={config.min_precision:g}"
        if self.recall < config.min_recall:
            return f"recall {self.recall:.2f} is below queries.judge.min_recall={config.min_recall:g}"
        return ""

    def line(self) -> str:
        """What was found, with its counts."""
        kin = f"{self.families} of them of families" if self.families else "none of them of families"
        return (
            f"precision {self.precision:.2f}, recall {self.recall:.2f} (called answers: {self.found} of "
            f"{self.relevant} planted relevant pairs, {kin}, and {self.taken} of {self.unrelated} unrelated ones)"
        )

    def report(self) -> dict[str, Any]:
        """Counts and shares, JSON-able."""
        return dict(vars(self)) | {"precision": round(self.precision, 4), "recall": round(self.recall, 4)}


def control_in(report: Mapping[str, Any]) -> Control:
    """The control that ``Control.report`` gave."""
    return Control(**{name: report[name] for name in Control.__dataclass_fields__})


@dataclass(frozen=True)
class _Known:
    patent: Patent
    family: str
    sections: frozenset[str]


def planted(
    corpus: pa.Table, splits: pa.Table, count: int, seed: int, *, min_chars: int = 8, max_chars: int = 60
) -> Planted:
    """``count`` planted pairs, half of them relevant, chosen by a seeded hash; fewer where a corpus has no more.

    Args:
        corpus: ``publication_number, title, abstract, language, codes``, in any order.
        splits: ``publication_number, family`` of each of them.
        min_chars, max_chars: of the queries (``rule_query``).
    """
    family = dict(zip(splits["publication_number"].to_pylist(), splits["family"].to_pylist(), strict=True))
    names = ("publication_number", "title", "abstract", "language", "codes")
    rows = zip(*(corpus[name].to_pylist() for name in names), strict=True)
    known = [
        _Known(Patent(number, *texts), family[number], frozenset(code[:1] for code in codes or ()))
        for number, *texts, codes in rows
    ]
    known.sort(key=lambda each: (hash64(each.patent.number, seed, "judge"), each.patent.number))

    def query(of: _Known) -> str:
        patent = of.patent
        limits = {"min_chars": min_chars, "max_chars": max_chars}
        return rule_query(patent.title, patent.abstract, patent.language, seed, **limits)[0]

    half = count // 2
    kin = list(islice(_kin(known), half))
    asked = {one.patent.number for one, _ in kin}
    own = islice((each for each in known if each.patent.number not in asked), half - len(kin))
    relevant = [Pair(query(one), other.patent) for one, other in [*kin, *((each, each) for each in own)]]
    unrelated = [Pair(query(one), other.patent) for one, other in islice(_strangers(known), half)]
    return Planted(relevant, unrelated, len(kin))


def _kin(known: Sequence[_Known]) -> Iterator[tuple[_Known, _Known]]:
    """Two members of each family that differ in their abstracts, and are of one language."""
    members: dict[str, list[_Known]] = defaultdict(list)
    for each in known:
        members[each.family].append(each)
    for first, *others in members.values():
        patent = first.patent
        found = (
            each
            for each in others
            if each.patent.abstract != patent.abstract and each.patent.language == patent.language
        )
        if (other := next(found, None)) is not None:
            yield first, other


def _strangers(known: Sequence[_Known]) -> Iterator[tuple[_Known, _Known]]:
    """Each patent with the next one that shares no section with it, and has its language."""
    for place, each in enumerate(known):
        around = (known[(place + step) % len(known)] for step in range(1, min(len(known), _LOOKED_AT)))
        fitting = (
            other
            for other in around
            if each.sections
            and other.sections
            and not each.sections & other.sections
            and other.family != each.family
            and prompt_language(other.patent.language) == prompt_language(each.patent.language)
        )
        if (other := next(fitting, None)) is not None:
            yield each, other
