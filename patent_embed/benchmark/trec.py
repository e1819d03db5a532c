"""What was measured, in the formats of trec_eval: runs, and judgements."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from patent_embed.arrays import Vectors, grouped, places_in
from patent_embed.text import unspaced


def run_lines(table: pa.Table, queries: pa.ChunkedArray, documents: pa.ChunkedArray, tag: str) -> Iterable[str]:
    """The lines of a run: query, ``Q0``, document, rank from 1, score, name of the system.

    trec_eval sorts by score and reads no ranks, and other programs order equal scores otherwise: a score that is not
    below the one before it is lowered by the least step of float32, in which trec_eval reads them.

    Args:
        table: as in ``evaluation.rankings.RANKING``.
        queries, documents: their ids.
    """
    query, score = table["query"].to_numpy(), falling(table["query"].to_numpy(), table["score"].to_numpy())
    named = [_plain(ids.take(table[name])) for ids, name in ((queries, "query"), (documents, "document"))]
    tag = unspaced(tag)
    rank = places_in(np.bincount(query)) + 1
    for asked, document, place, value in zip(*named, rank.tolist(), score, strict=True):
        yield f"{asked} Q0 {document} {place} {np.format_float_positional(value, unique=True)} {tag}\n"


def falling(query: np.ndarray, scores: Vectors) -> Vectors:
    """``scores`` (m,) of ``query`` (m,), ascending, best first in each, with those lowered that are not below the one
    before them."""
    out, place = scores.astype(np.float32), places_in(np.bincount(query))
    order, starts = grouped(place, int(place.max(initial=-1)) + 1)
    for nth in range(1, len(starts) - 1):  # of all queries at once
        rows = order[starts[nth] : starts[nth + 1]]
        out[rows] = np.minimum(out[rows], np.nextafter(out[rows - 1], np.float32(-np.inf)))
    return out


def qrels_lines(table: pa.Table) -> Iterable[str]:
    """The lines of judgements: query, ``0``, document, grade. ``table``: ``query_id, doc_id, grade``."""
    ids = (_plain(table[name]) for name in ("query_id", "doc_id"))
    for query, document, grade in zip(*ids, table["grade"].to_pylist(), strict=True):
        yield f"{query} 0 {document} {grade}\n"


def _plain(ids: pa.ChunkedArray) -> list[str]:
    """Ids without white space, which separates the columns."""
    return [unspaced(each) for each in ids.to_pylist()]
