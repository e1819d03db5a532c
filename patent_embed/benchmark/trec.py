"""What was measured, in the formats of trec_eval: runs, and judgements."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from patent_embed.arrays import Vectors

_SPACE = re.compile(r"\s+")


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
    tag = _SPACE.sub("_", tag)
    rank = np.arange(len(query)) - np.searchsorted(query, query) + 1
    for asked, document, place, value in zip(*named, rank.tolist(), score, strict=True):
        yield f"{asked} Q0 {document} {place} {np.format_float_positional(value, unique=True)} {tag}\n"


def falling(query: np.ndarray, scores: Vectors) -> Vectors:
    """``scores`` (m,), best first in each query, with those lowered that are not below the one before them."""
    out = scores.astype(np.float32).copy()
    for place in range(1, len(out)):
        if query[place] == query[place - 1] and out[place] >= out[place - 1]:
            out[place] = np.nextafter(out[place - 1], np.float32(-np.inf))
    return out


def qrels_lines(table: pa.Table) -> Iterable[str]:
    """The lines of judgements: query, ``0``, document, grade. ``table``: ``query_id, doc_id, grade``."""
    ids = (_plain(table[name]) for name in ("query_id", "doc_id"))
    for query, document, grade in zip(*ids, table["grade"].to_pylist(), strict=True):
        yield f"{query} 0 {document} {grade}\n"


def _plain(ids: pa.ChunkedArray) -> list[str]:
    """Ids without white space, which separates the columns."""
    return [_SPACE.sub("_", each) for each in ids.to_pylist()]
