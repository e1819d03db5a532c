"""What fine-tuning did to the similarity of general text: sentence pairs that ship with the package.

``general_pairs.tsv`` holds everyday sentences in Chinese and English, written for this project. Each line gives a
sentence, one that says the same in other words (grade 2), and one on the same subject that says something else
(grade 1), mostly with more words in common than the first. The sentence of the next line is unrelated (grade 0).
An encoder that keeps its sense of general text orders the pairs by grade: Spearman's rank correlation of cosine and
grade, as in semantic textual similarity tasks.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from patent_embed.arrays import Vectors
from patent_embed.evaluation.search import pair_scores

PAIRS = pa.schema(
    [
        ("language", pa.string()),
        ("group", pa.int32()),  # pairs of one line of the file
        ("grade", pa.int32()),
        ("similarity", pa.float32()),
    ]
)
LANGUAGES = {"zh": "Chinese", "en": "English"}
RESAMPLES = 1000  # of the bootstrap: it is drawn, so another number gives other bounds


@dataclass(frozen=True)
class Forgetting:
    """One system against another on the general pairs of a language, or of ``all``.

    Attributes:
        system_correlation, baseline_correlation: Spearman's, of cosine and grade, -1 to 1.
        low, high: bounds of their difference with 95 % confidence (paired bootstrap over the lines of the file).
    """

    system: str
    baseline: str
    language: str
    pairs: int
    system_correlation: float
    baseline_correlation: float
    low: float
    high: float

    @property
    def difference(self) -> float:
        """The system's correlation less the baseline's."""
        return self.system_correlation - self.baseline_correlation

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` where the interval leaves out 0, else ``no difference``."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "no difference"


@cache
def _lines() -> list[dict[str, str]]:
    text = files("patent_embed.evaluation").joinpath("general_pairs.tsv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))


def general_texts() -> list[str]:
    """The sentences, three a line: sentence, the same in other words, another on the same subject."""
    return [line[column] for line in _lines() for column in ("sentence", "same", "related")]


def pair_similarities(vectors: Vectors) -> pa.Table:
    """The pairs (``PAIRS``) with their cosine. ``vectors``: (texts, d) float32 of unit length, of ``general_texts``."""
    language = [line["language"] for line in _lines()]
    columns: dict[str, list[object]] = {"language": [], "group": [], "grade": []}
    one, other = [], []
    for code in dict.fromkeys(language):
        mine = [row for row, name in enumerate(language) if name == code]
        for row, following in zip(mine, mine[1:] + mine[:1], strict=True):
            sentence = 3 * row
            for grade, partner in ((2, sentence + 1), (1, sentence + 2), (0, 3 * following)):
                one.append(sentence)
                other.append(partner)
                for name, value in (("language", code), ("group", row), ("grade", grade)):
                    columns[name].append(value)
    similarity = pair_scores(vectors, vectors, np.array(one, np.int64), np.array(other, np.int64))
    return pa.table({**columns, "similarity": similarity}, schema=PAIRS)


def compare_general(
    system: str, baseline: str, ours: pa.Table, theirs: pa.Table, *, seed: int = 0
) -> Sequence[Forgetting]:
    """``system`` against ``baseline`` by their ``pair_similarities``: all pairs, then each language."""
    language = np.asarray(ours["language"].to_pylist(), object)
    group, grade = ours["group"].to_numpy(), ours["grade"].to_numpy()
    scores = np.stack([table["similarity"].to_numpy() for table in (ours, theirs)])
    found = []
    for code in ("all", *LANGUAGES):
        mine = np.flatnonzero((language == code) | (code == "all"))
        ours_now, theirs_now = _spearman(scores[:, mine], grade[mine])
        low, high = _interval(scores[:, mine], grade[mine], group[mine], seed)
        found.append(Forgetting(system, baseline, code, len(mine), ours_now, theirs_now, low, high))
    return found


def _spearman(scores: NDArray[np.float32], grade: NDArray[np.int32]) -> tuple[float, float]:
    """Rank correlation of both systems' scores (2, m) with the grades (m,), ties at their mean rank.

    It is 0 for an encoder that finds all pairs alike.
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.vstack([scores, grade]), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    size = np.sqrt((ranks**2).sum(axis=1))
    ours, theirs = (float(ranks[row] @ ranks[2] / (size[row] * size[2])) if size[row] else 0.0 for row in (0, 1))
    return ours, theirs


def _interval(
    scores: NDArray[np.float32], grade: NDArray[np.int32], group: NDArray[np.int32], seed: int
) -> tuple[float, float]:
    lines = [np.flatnonzero(group == number) for number in np.unique(group)]
    rng = np.random.default_rng([seed, 3])
    differences = np.empty(RESAMPLES)
    for sample in range(RESAMPLES):
        drawn = np.concatenate([lines[place] for place in rng.integers(0, len(lines), len(lines))])
        ours, theirs = _spearman(scores[:, drawn], grade[drawn])
        differences[sample] = ours - theirs
    low, high = np.quantile(differences, [0.025, 0.975])
    return float(low), float(high)
