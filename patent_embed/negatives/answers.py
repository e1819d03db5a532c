"""Negatives that a judge is asked about, and those that are answers, which leave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from patent_embed.arrays import Int64, Rows, numbered, places_in
from patent_embed.data.schemas import NEGATIVES
from patent_embed.negatives.drawn import Mined
from patent_embed.negatives.ladder import RUNGS


def hardest(query: Rows, scores: NDArray[np.floating[Any]], count: int) -> Int64:
    """Of m candidates the ``count`` that score highest for each query: their places, query by query, best first.

    ``query`` (m,) ascending; ``scores`` (m,). Equal scores: the earlier candidate first.
    """
    order = np.lexsort((np.arange(len(query)), -scores, query))
    sizes = np.unique(query, return_counts=True)[1]
    found: Int64 = order[places_in(sizes) < count].astype(np.int64)
    return found


def without_answers(
    negatives: pa.Table, report: Mapping[str, Any], answers: Collection[tuple[str, str]], per_positive: int
) -> Mined:
    """``negatives`` (``NEGATIVES``) without those that answer a query of their anchor, and their ``report`` anew.

    Args:
        answers: pairs of an anchor and a patent.
        per_positive: negatives that every anchor should have.
    """
    wrong = set(answers)
    names = zip(negatives["publication_number"].to_pylist(), negatives["negative"].to_pylist(), strict=True)
    kept = negatives.filter(pa.array([pair not in wrong for pair in names], pa.bool_()))
    _, sizes = np.unique(numbered(kept["publication_number"])[0], return_counts=True)
    rank = pa.array(_ranks(kept["publication_number"]), pa.int32())
    table = kept.set_column(NEGATIVES.get_field_index("rank"), NEGATIVES.field("rank"), rank)
    rungs = Counter(table["rung"].to_pylist())
    has = Counter(sizes.tolist())
    has[0] = report["anchors"] - len(sizes)
    return Mined(
        table,
        {
            **report,
            "negatives": len(table),
            "rungs": {rung: rungs[rung] for rung in RUNGS},
            "shortfall": {str(per_positive - n): has[n] for n in reversed(range(per_positive)) if has[n]},
            "anchors_without_negatives": has[0],
            "filtered": {**report.get("filtered", {}), "judged_answers": len(negatives) - len(table)},
        },
    )


def _ranks(anchors: pa.ChunkedArray) -> NDArray[np.int32]:
    """Places of rows among those of their anchor, whose rows stand together."""
    number = numbered(anchors)[0]
    starts = np.flatnonzero(np.diff(number, prepend=-1))
    sizes = np.diff(np.append(starts, len(number)))
    return places_in(sizes).astype(np.int32)
