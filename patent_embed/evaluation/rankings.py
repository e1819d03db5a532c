"""Retrieval measured on queries whose right answers are judged, of any benchmark.

Rankings are kept, so that they can be fused, written as TREC runs and measured on parts of the judgements. Documents
are numbered from the largest id down: equal scores then stand as trec_eval puts them, the larger id first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.arrays import Rows, Vectors, numbered, owners_of, places_in
from patent_embed.data.schemas import BENCHMARK_METRICS, PER_BENCHMARK_QUERY
from patent_embed.evaluation import metrics, significance
from patent_embed.evaluation.fusion import fuse
from patent_embed.evaluation.measure import EvalResult
from patent_embed.evaluation.qrels import Qrels, graded_metrics
from patent_embed.evaluation.systems import System

DEPTH = 1000  # documents retrieved for each query, as is the custom at TREC
RANKING = pa.schema([("query", pa.int32()), ("document", pa.int32()), ("score", pa.float32())])


@dataclass(frozen=True)
class Ranking:
    """Documents of all queries, best first: ``scores`` and ``rows`` (q, k); row -1: nothing more was found."""

    scores: Vectors
    rows: Rows

    def of_query(self, query: int) -> tuple[Vectors, Rows]:
        """Scores and rows (m,) of what was found for a query."""
        found = self.rows[query] >= 0
        return self.scores[query][found], self.rows[query][found]

    def table(self) -> pa.Table:
        """As in ``RANKING``: what was found, queries and their rankings in order."""
        query, place = np.nonzero(self.rows >= 0)
        found = (query, self.rows[query, place], self.scores[query, place])
        arrays = [pa.array(column).cast(field.type) for column, field in zip(found, RANKING, strict=True)]
        return pa.table(arrays, schema=RANKING)

    @classmethod
    def of_table(cls, table: pa.Table, queries: int) -> Ranking:
        """What ``table`` made, of so many queries."""
        count = np.bincount(table["query"].to_numpy(), minlength=queries)
        shape = (queries, int(count.max(initial=0)))
        scores, rows = np.zeros(shape, np.float32), np.full(shape, -1, np.int64)
        place = (owners_of(count), places_in(count))
        scores[place], rows[place] = table["score"].to_numpy(), table["document"].to_numpy()
        return cls(scores, rows)


def retrieve(system: System, queries: int, excluded: tuple[Rows, Rows], depth: int = DEPTH) -> Ranking:
    """The ``depth`` best documents of each of the system's first ``queries`` queries.

    Args:
        excluded: pairs of a query and a document that is no candidate of it, (m,) each, no pair twice.
    """
    query, document = excluded
    most = int(np.bincount(query, minlength=1).max())
    scores, rows = system.search(np.arange(queries), depth + most)
    if most:
        dropped = Qrels.of(query, document, np.ones(len(query), np.int64)).grades(np.arange(queries), rows) > 0
        order = np.argsort(dropped, axis=1, kind="stable")
        scores, rows = (np.take_along_axis(each, order, axis=1) for each in (scores, np.where(dropped, -1, rows)))
    return Ranking(scores[:, :depth], rows[:, :depth])


def fused(rankings: tuple[Ranking, Ranking], depth: int = DEPTH) -> Ranking:
    """Both rankings of the same queries as one, by reciprocal rank fusion (``fusion.fuse``)."""
    queries = len(rankings[0].rows)
    scores, rows = np.zeros((queries, depth), np.float32), np.full((queries, depth), -1, np.int64)
    for query in range(queries):
        best, documents = fuse([each.of_query(query) for each in rankings], depth)
        scores[query, : len(best)], rows[query, : len(best)] = best, documents
    return Ranking(scores, rows)


def judge(
    name: str, scale: str, ranking: Ranking, queries: pa.Table, qrels: Mapping[str, Qrels], documents: pa.ChunkedArray
) -> EvalResult:
    """The metrics of a ranking on each set of judgements.

    Args:
        name, scale: of the system.
        ranking: of all queries, in their order.
        queries: ``publication_number, source, kind`` of each.
        qrels: split → its judgements. A query counts in a split that judges it.
        documents: their ids.
    """
    parts = [_judged(split, found, ranking, queries, documents) for split, found in qrels.items()]
    return EvalResult(name, scale, pa.concat_tables(parts))


def _judged(split: str, qrels: Qrels, ranking: Ranking, queries: pa.Table, documents: pa.ChunkedArray) -> pa.Table:
    asked = qrels.queries
    ranked, about = ranking.rows[asked], queries.take(pa.array(asked))
    first = ranked[:, 0] if ranked.shape[1] else np.full(len(asked), -1)
    columns: dict[str, Any] = {
        "publication_number": about["publication_number"],
        "query_no": pa.array(asked),
        "split": pa.array([split] * len(asked), pa.string()),
        "source": about["source"],
        "kind": about["kind"],
        "headline": pa.array([True] * len(asked), pa.bool_()),
        "relevant": pa.array(qrels.relevant(asked)),
        "rank": pa.array(metrics.first_rank(qrels.grades(asked, ranked) > 0)),
        "first": documents.take(pa.array(first, mask=first < 0)),
        **{name: pa.array(each) for name, each in graded_metrics(qrels, asked, ranked, BENCHMARK_METRICS).items()},
    }
    return pa.table([columns[field.name].cast(field.type) for field in PER_BENCHMARK_QUERY], schema=PER_BENCHMARK_QUERY)


@dataclass(frozen=True)
class MeanInterval:
    """A system's mean of a metric over the queries of a split, and its 95 % interval: a bootstrap of whole patents."""

    system: str
    split: str
    metric: str
    queries: int
    mean: float
    low: float
    high: float


def mean_intervals(result: EvalResult, names: tuple[str, ...], seed: int) -> list[MeanInterval]:
    """The means of the metrics ``names`` on each split that has queries."""
    found = []
    for split in result.splits:
        rows = result.rows(split)
        unit = numbered(rows["publication_number"])[0].astype(np.int64)
        for name in names if len(rows) else ():
            values: NDArray[np.float64] = rows[name].to_numpy()
            low, high = significance.paired_bootstrap(values, unit, seed)
            mean = pc.mean(rows[name]).as_py()  # to the last bit that of the result tables
            found.append(MeanInterval(result.name, split, name, len(rows), mean, low, high))
    return found
