"""From the artifacts' tables to what training reads: triplets over one token store, and the validation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.encoder import Encoder
from patent_embed.packing import Tokens
from patent_embed.training import TripletData

RULES = "rules"


def headline_queries(queries: pa.Table, sources: Sequence[str] | None, enough: int = 50) -> pa.Table:
    """The queries that a metric is measured on.

    With ``sources`` None: all but those of rules when at least ``enough`` are left. A rule query is lifted from its
    abstract, so it rewards word overlap; it stands in only where nothing better exists.
    """
    if sources is not None:
        return queries.filter(pc.is_in(queries["source"], value_set=pa.array(sources, pa.string())))
    written = queries.filter(pc.not_equal(queries["source"], RULES))
    return written if len(written) >= enough else queries


def rows_of(ids: pa.ChunkedArray, corpus: pa.Table) -> np.ndarray:
    """Row of each id in ``corpus``. Raises ValueError for an id that is not there."""
    rows = pc.index_in(ids, value_set=corpus["publication_number"])
    if rows.null_count:
        missing = ids.filter(pc.is_null(rows))[0].as_py()
        raise ValueError(f"{rows.null_count} ids are not in the corpus, {missing!r} among them")
    return rows.to_numpy().astype(np.int64)


def build_triplets(
    encoder: Encoder,
    corpus: pa.Table,
    splits: pa.Table,
    queries: pa.Table,
    negatives: pa.Table,
    sources: Sequence[str] | None,
) -> TripletData:
    """Triplets of the train split: each query with its patent's abstract and each of that patent's negatives.

    ``corpus`` and ``splits`` are row-aligned (both sorted by id). ``sources`` limits the queries used.
    """
    in_train = pc.equal(splits["split"], "train").to_numpy()
    query_rows = rows_of(queries["publication_number"], corpus)
    keep = in_train[query_rows]
    if sources is not None:
        keep &= pc.is_in(queries["source"], value_set=pa.array(sources, pa.string())).to_numpy()
    queries, query_rows = queries.filter(pa.array(keep)), query_rows[keep]

    anchors = rows_of(negatives["publication_number"], corpus)  # ascending: the table is sorted by anchor
    others = rows_of(negatives["negative"], corpus)
    begin, end = np.searchsorted(anchors, query_rows, "left"), np.searchsorted(anchors, query_rows, "right")
    counts = end - begin
    query = np.repeat(np.arange(len(queries)), counts)
    position = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begin, counts)
    patents = np.stack([query_rows[query], others[position]], axis=1)

    used, compact = np.unique(patents, return_inverse=True)
    passages = encoder.tokenize(_take(corpus["abstract"], used), "passage")
    tokens = Tokens.concat([encoder.tokenize(queries["query"].to_pylist(), "query"), passages])
    family = pc.dictionary_encode(splits["family"].combine_chunks()).indices.to_numpy().astype(np.int64)
    return TripletData(
        tokens=tokens,
        triplets=np.column_stack([query, compact.reshape(-1, 2) + len(queries)]),
        family=np.concatenate([family[query_rows], family[used]]),
    )


@dataclass(frozen=True)
class RetrievalSet:
    """Queries of one split against the patents of that split.

    Attributes:
        queries, passages: token stores.
        query_family: (len(queries),), passage_family: (len(passages),): a passage is relevant to a query when
            their families are the same.
    """

    queries: Tokens
    passages: Tokens
    query_family: np.ndarray
    passage_family: np.ndarray


def build_retrieval_set(
    encoder: Encoder,
    corpus: pa.Table,
    splits: pa.Table,
    queries: pa.Table,
    split: str,
    sources: Sequence[str] | None,
) -> RetrievalSet:
    """The headline queries of ``split`` and all its abstracts."""
    member = pc.equal(splits["split"], split).to_numpy()
    query_rows = rows_of(queries["publication_number"], corpus)
    of_split = queries.filter(pa.array(member[query_rows]))
    chosen = headline_queries(of_split, sources)
    family = pc.dictionary_encode(splits["family"].combine_chunks()).indices.to_numpy().astype(np.int64)
    return RetrievalSet(
        queries=encoder.tokenize(chosen["query"].to_pylist(), "query"),
        passages=encoder.tokenize(_take(corpus["abstract"], np.flatnonzero(member)), "passage"),
        query_family=family[rows_of(chosen["publication_number"], corpus)],
        passage_family=family[member],
    )


def _take(column: pa.ChunkedArray, rows: np.ndarray) -> list[str]:
    texts: list[str] = column.take(pa.array(rows)).to_pylist()
    return texts
