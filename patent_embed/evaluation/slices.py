"""Where a system got better and where worse: the same queries cut along what is known of them.

Many slices are looked at, so some differ by chance. The p-values of one comparison are therefore adjusted together
(Holm), over all slices with enough queries, and only what is left is called better or worse. A slice with fewer
queries is shown and not judged.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.arrays import rows_of
from patent_embed.data.codes import flattened, main_groups
from patent_embed.evaluation import significance
from patent_embed.evaluation.comparison import Comparison, compare_rows, verdict
from patent_embed.evaluation.measure import HEADLINE, EvalResult
from patent_embed.ipc import main_group, section, subclass

ENOUGH_FOR_A_SLICE = 30  # queries; a slice of fewer is not compared
SOURCE = "query source"
# Slices by the patents of a query's main group: the most of each, and its name.
GROUP_SIZES = ((1, "1 patent"), (9, "2 to 9 patents"), (49, "10 to 49 patents"))
LARGE_GROUP = "50 patents or more"

Labels = NDArray[np.object_]


@dataclass(frozen=True)
class Slice:
    """Queries of one kind.

    Attributes:
        dimension, value: ``section``, ``G``.
        queries: how many.
        means: system → mean of the headline metric.
        comparison: of the two systems in question, its ``p_value`` adjusted; None where there are too few queries.
    """

    dimension: str
    value: str
    queries: int
    means: Mapping[str, float]
    comparison: Comparison | None


@dataclass(frozen=True)
class SliceReport:
    """``system`` against ``baseline`` in every slice of a split."""

    system: str
    baseline: str
    split: str
    slices: Sequence[Slice]

    @property
    def tested(self) -> int:
        """How many slices have enough queries to be compared."""
        return sum(part.comparison is not None for part in self.slices)

    def found(self, verdict: str) -> list[Slice]:
        """The slices that are ``better`` or ``worse``, largest difference first."""
        judged = [s for s in self.slices if s.comparison is not None and s.comparison.verdict == verdict]
        return sorted(judged, key=lambda s: -abs(s.comparison.difference) if s.comparison else 0.0)


def query_labels(per_query: pa.Table, queries: pa.Table, corpus: pa.Table, splits: pa.Table) -> dict[str, Labels]:
    """What each row of ``per_query`` belongs to: dimension → label (q,).

    Args:
        per_query: as in ``PER_QUERY``.
        queries: ``publication_number, query_no, query``.
        corpus: ``publication_number, abstract, codes``, rows as in ``splits``.
        splits: ``publication_number, split``.

    A patent's section, subclass and main group are those of its first code. It is in the domain of the training when
    any of its main groups has a patent in the training split. Lengths are cut at the median of the
    split's headline queries.
    """
    own = rows_of(per_query["publication_number"], corpus["publication_number"])
    first = pc.list_element(corpus["codes"].combine_chunks(), 0)
    sizes = {item["values"]: item["counts"] for item in pc.value_counts(main_groups(first)).to_pylist()}
    owner, every_code = flattened(corpus["codes"])
    groups = main_groups(every_code)
    trained = pc.equal(splits["split"], "train").combine_chunks().take(pa.array(owner))
    known = pc.is_in(groups, value_set=groups.filter(trained).unique()).to_numpy(zero_copy_only=False)
    seen = np.zeros(len(corpus), np.bool_)
    seen[owner[known]] = True
    codes = first.take(pa.array(own)).to_pylist()
    asked = queries["query"].take(pa.array(rows_of(_keys(per_query), _keys(queries))))
    of_patent = {
        "section": map(section, codes),
        "subclass": map(subclass, codes),
        "main-group size": (_group_size(sizes[main_group(code)]) for code in codes),
        "main group in training": ("seen in training" if found else "unseen in training" for found in seen[own]),
    }
    split = np.asarray(per_query["split"].to_pylist(), object)
    headline = per_query["headline"].to_numpy()
    lengths = {
        "query length": pc.utf8_length(asked).to_numpy(),
        "abstract length": pc.utf8_length(corpus["abstract"]).to_numpy()[own],
    }
    return {
        SOURCE: np.asarray(per_query["source"].to_pylist(), object),
        "query kind": np.asarray(per_query["kind"].to_pylist(), object),
        **{name: np.array(list(labels), object) for name, labels in of_patent.items()},
        **{name: _halves(values, split, headline) for name, values in lengths.items()},
    }


def compare_slices(
    system: EvalResult,
    baseline: EvalResult,
    labels: Mapping[str, Labels],
    *,
    split: str = "test",
    others: Sequence[EvalResult] = (),
    enough: int = ENOUGH_FOR_A_SLICE,
    seed: int = 0,
) -> SliceReport:
    """``system`` against ``baseline`` in every slice of ``split``, with the means of ``others`` beside them.

    ``labels``: from ``query_labels``, rows as in ``per_query``. Slices are of the headline queries; only the query
    sources are compared over all queries, or there would be one.
    """
    shown = {result.name: result for result in (*others, baseline, system)}
    in_split = np.asarray(system.per_query["split"].to_pylist(), object) == split
    headline = system.per_query["headline"].to_numpy()
    cuts: list[tuple[str, str, pa.Array]] = []
    for dimension, of_query in labels.items():
        rows = np.flatnonzero(in_split if dimension == SOURCE else in_split & headline)
        for value in sorted(set(of_query[rows]), key=_by_number):
            cuts.append((dimension, value, pa.array(rows[of_query[rows] == value])))
    tested = {(d, v) for d, v, rows in cuts if len(rows) >= enough and sum(other == d for other, _, _ in cuts) > 1}
    # The smallest p-value that so many resamples can give must survive the adjustment.
    resamples = max(significance.RESAMPLES, 40 * len(tested))
    slices = []
    for dimension, value, rows in cuts:
        tables = {name: result.per_query.take(rows) for name, result in shown.items()}
        comparison = None
        if (dimension, value) in tested:
            ours, theirs = tables[system.name], tables[baseline.name]
            comparison = compare_rows(
                *(system.name, baseline.name, ours, theirs),
                split=split,
                metric=HEADLINE,
                seed=seed,
                resamples=resamples,
            )
        means = {name: float(table[HEADLINE].to_numpy().mean()) for name, table in tables.items()}
        slices.append(Slice(dimension, value, len(rows), means, comparison))
    return SliceReport(system.name, baseline.name, split, _adjusted(slices))


def _adjusted(slices: Sequence[Slice]) -> list[Slice]:
    raw = [part.comparison.p_value for part in slices if part.comparison]
    p_values = iter(significance.holm(np.array(raw)).tolist())
    adjusted = []
    for part in slices:
        if c := part.comparison:
            p_value = next(p_values)
            judged = replace(c, p_value=p_value, verdict=verdict(c.low, c.high, p_value))
            part = replace(part, comparison=judged)
        adjusted.append(part)
    return adjusted


def _by_number(label: str) -> tuple[int, str]:
    """Sorts ``2 to 9 patents`` before ``10 to 49 patents``, and labels without a number by the alphabet."""
    number = re.match(r"\d*", label)
    return int(number[0]) if number and number[0] else 0, label


def _keys(table: pa.Table) -> pa.ChunkedArray:
    number = pc.cast(table["query_no"], pa.string())
    return pc.binary_join_element_wise(table["publication_number"], number, "#")


def _group_size(patents: int) -> str:
    return next((name for most, name in GROUP_SIZES if patents <= most), LARGE_GROUP)


def _halves(length: NDArray[np.int64], split: Labels, headline: NDArray[np.bool_]) -> Labels:
    """Short or long, cut at the median of the headline queries of the same split."""
    labels = np.empty(len(length), object)
    for part in set(split.tolist()):
        mine = np.flatnonzero(split == part)
        counted = mine[headline[mine]]
        middle = int(np.median(length[counted if len(counted) else mine]))
        names = np.array([f"1 to {middle} characters", f"{middle + 1} characters or more"], object)
        labels[mine] = names[(length[mine] > middle).astype(int)]
    return labels
