"""Retrieval measured: a system on the queries of val and test, against the whole corpus.

A query's relevant set is its own patent, those that people judged relevant to it, and their families; ``GRADED`` is a
second view, through the classification (``relevance``). Everything is kept as one row a query (``PER_QUERY``):
summaries, ``slices`` and paired tests (``comparison``) are views of that table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.arrays import Rows, matches, numbered, rows_of, starts_of
from patent_embed.data.schemas import BENCHMARK_METRICS, GRADED, PER_QUERY, RETRIEVAL_METRICS
from patent_embed.evaluation import metrics
from patent_embed.evaluation.judged import JudgedAnswers
from patent_embed.evaluation.patent_map import PatentMap
from patent_embed.evaluation.relevance import IpcRelevance
from patent_embed.evaluation.systems import System
from patent_embed.queries.sources import JUDGED, from_sources, mask_by_source

EVALUATED_SPLITS = ("val", "test")
HEADLINE = "ndcg@10"
PAIR_METRICS = ("triplet_accuracy", "positive_similarity", "negative_similarity")
METRICS = (*RETRIEVAL_METRICS, GRADED, *PAIR_METRICS)
# Queries of a model, or people, in a split, with which those of rules are left out of the headline. Val judges the
# training, which rule queries never do where there is another.
ENOUGH_QUERIES = {"val": 1, "test": 50}
DEPTH = 50  # documents retrieved for each query: a right answer behind them counts as not found


@dataclass(frozen=True)
class EvalResult:
    """One system's results.

    Attributes:
        scale: unit of its scores, see ``System``.
        per_query: the columns of ``PER_QUERY``, or of ``PER_BENCHMARK_QUERY``, queries in their order.
        general: of an encoder: similarities of general sentence pairs (``forgetting.PAIRS``).
        map: of an encoder: where it puts the test patents.
    """

    name: str
    scale: str
    per_query: pa.Table
    general: pa.Table | None = None
    map: PatentMap | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that it may have queries of: those of runs, then the parts of a benchmark."""
        return tuple(dict.fromkeys((*EVALUATED_SPLITS, *pc.unique(self.per_query["split"]).to_pylist())))

    def rows(self, split: str, *, headline: bool = True) -> pa.Table:
        """The rows of ``per_query`` of one split: of the headline set, or all."""
        chosen = pc.equal(self.per_query["split"], split)
        return self.per_query.filter(pc.and_(chosen, self.per_query["headline"]) if headline else chosen)

    def summary(self, split: str) -> dict[str, Any]:
        """JSON-able: ``sources`` and ``queries`` of the headline set, its ``metrics``, and the same ``by_source``."""
        headline, everything = self.rows(split), self.rows(split, headline=False)
        return {
            "sources": sorted(set(headline["source"].to_pylist())),
            **summarise(headline),
            "by_source": {
                source: summarise(everything.filter(pc.equal(everything["source"], source)))
                for source in sorted(set(everything["source"].to_pylist()))
            },
        }


def headline_mask(source: pa.ChunkedArray, wanted: Sequence[str] | None, split: str = "test") -> NDArray[np.bool_]:
    """Which queries of a split count in its headline metrics, by their sources: (q,) bool.

    ``wanted`` is the value of ``evaluation.query_sources``. Raises UserError when it matches none of the queries; val
    may be without those that people judged, who do not choose where they judge.
    """
    if split == "val" and wanted is not None and JUDGED in wanted:
        return from_sources(source, wanted)
    return mask_by_source(
        source, wanted, enough=ENOUGH_QUERIES[split], setting="evaluation.query_sources", use="measure on"
    )


def summarise(per_query: pa.Table) -> dict[str, Any]:
    """``{"queries": n, "metrics": {name: mean or None}}`` of some rows of ``PER_QUERY`` or ``PER_BENCHMARK_QUERY``.

    Triplet accuracy and the similarity of negatives are means over triplets, everything else over queries.
    """
    if "triplets" not in per_query.column_names:
        judged = {name: pc.mean(per_query[name]).as_py() for name in BENCHMARK_METRICS}
        return {"queries": len(per_query), "metrics": judged}
    triplets = pc.sum(per_query["triplets"]).as_py() or 0
    means: dict[str, float | None] = {
        name: pc.mean(per_query[name]).as_py() for name in (*RETRIEVAL_METRICS, GRADED, "positive_similarity")
    }
    weighted = pc.sum(pc.multiply(per_query["negative_similarity"], per_query["triplets"])).as_py()
    means["negative_similarity"] = weighted / triplets if triplets else None
    means["triplet_accuracy"] = pc.sum(per_query["triplets_won"]).as_py() / triplets if triplets else None
    return {"queries": len(per_query), "metrics": {name: means[name] for name in METRICS}}


def evaluate(
    name: str,
    system: System,
    queries: pa.Table,
    splits: pa.Table,
    negatives: pa.Table,
    query_sources: Sequence[str] | None = None,
    codes: pa.ChunkedArray | None = None,
    judged: pa.Table | None = None,
) -> EvalResult:
    """Measure ``system`` on the queries of val and test.

    Args:
        name: of the system, for people.
        system: what is measured.
        queries: ``publication_number, query_no, query, source, kind``; the system's query rows are its rows.
        splits: ``publication_number, family, split``; the system's document rows are its rows, sorted by id.
        negatives: ``publication_number, negative``.
        query_sources: of the headline set, see ``headline_mask``.
        codes: full codes of each document, rows as in ``splits``; None: graded relevance is not measured.
        judged: ``JUDGED``: more right answers. Their queries are left out of graded relevance, whose best ranking
            they would change.
    """
    ids = splits["publication_number"]
    own = rows_of(queries["publication_number"], ids)
    split_of_query = splits["split"].take(pa.array(own))
    chosen = np.flatnonzero(pc.is_in(split_of_query, value_set=pa.array(EVALUATED_SPLITS)).to_numpy())
    table, own = queries.take(pa.array(chosen)), own[chosen]
    split = np.asarray(split_of_query.take(pa.array(chosen)).to_pylist(), dtype=object)
    headline = _headline(table["source"], split, query_sources)

    family = numbered(splits["family"])[0].astype(np.int64)
    _, ranked = system.search(chosen, DEPTH)
    hit = metrics.hits(ranked, family[own], family)
    relevant = metrics.group_sizes(family[own], family)
    graded = None if codes is None else _graded(IpcRelevance(codes, family), own, ranked)
    place, negative = _negatives_of(own, negatives, ids)
    several = np.zeros(len(own), np.bool_)
    if judged is not None:
        answers = JudgedAnswers(judged, table, split, ids, family)
        hit, relevant = answers.added(hit, relevant, ranked, family[own])
        kept, several = ~answers.are_answers(place, negative), answers.has
        place, negative = place[kept], negative[kept]
    first = ranked[:, 0] if ranked.shape[1] else np.full(len(own), -1)
    columns: dict[str, Any] = {
        "publication_number": table["publication_number"],
        "query_no": table["query_no"],
        "split": pa.array(split, pa.string()),
        "source": table["source"],
        "kind": table["kind"],
        "headline": headline,
        "relevant": relevant,
        "rank": metrics.first_rank(hit),
        "first": ids.take(pa.array(first, mask=first < 0)),
        **{metric: _METRIC[metric.partition("@")[0]](hit, relevant, metric) for metric in RETRIEVAL_METRICS},
        GRADED: pa.nulls(len(own)) if graded is None else pa.array(graded, mask=several),
        **_similarities(system, chosen, own, place, negative),
    }
    arrays = [_column(columns[field.name]).cast(field.type) for field in PER_QUERY]
    return EvalResult(name, system.scale, pa.table(arrays, schema=PER_QUERY))


def _headline(source: pa.ChunkedArray, split: NDArray[np.object_], wanted: Sequence[str] | None) -> NDArray[np.bool_]:
    """(q,) which queries are of the headline set of their split."""
    headline = np.zeros(len(split), np.bool_)
    for part in EVALUATED_SPLITS:
        mine = np.flatnonzero(split == part)
        headline[mine] = headline_mask(source.take(pa.array(mine)), wanted, part)
    return headline


def _similarities(system: System, queries: Rows, own: Rows, anchor: Rows, negative: Rows) -> dict[str, Any]:
    """What ``PER_QUERY`` holds of pairs of a query and a document.

    Args:
        system: gives the scores.
        queries: (q,) rows of the system.
        own: (q,) each query's own document.
        anchor: (m,) place in ``queries`` of each triplet.
        negative: (m,) document of each triplet.
    """
    positive_score = system.pairs(queries, own)
    negative_score = system.pairs(queries[anchor], negative)
    triplets = np.bincount(anchor, minlength=len(own))
    negative_sum = np.bincount(anchor, weights=negative_score, minlength=len(own))
    return {
        "positive_similarity": positive_score,
        "negative_similarity": pa.array(negative_sum / np.maximum(triplets, 1), mask=triplets == 0),
        "negative_similarities": pa.ListArray.from_arrays(
            starts_of(triplets).astype(np.int32), negative_score.astype(np.float32)
        ),
        "triplets": triplets,
        "triplets_won": np.bincount(anchor[positive_score[anchor] > negative_score], minlength=len(own)),
    }


def _graded(relevance: IpcRelevance, own: Rows, ranked: Rows) -> NDArray[np.float64]:
    k = _cut(GRADED)
    return metrics.graded_ndcg(relevance.grades(own, ranked[:, :k]), relevance.ideal(own, k))


_METRIC = {
    "ndcg": lambda hit, relevant, name: metrics.ndcg(hit, relevant, _cut(name)),
    "mrr": lambda hit, relevant, name: metrics.reciprocal_rank(hit, _cut(name)),
    "map": lambda hit, relevant, name: metrics.average_precision(hit, relevant, _cut(name)),
    "recall": lambda hit, relevant, name: metrics.recall(hit, relevant, _cut(name)),
}


def _cut(name: str) -> int:
    return int(name.partition("@")[2])


def _column(values: Any) -> Any:
    return pa.array(values) if isinstance(values, np.ndarray) else values


def _negatives_of(own: Rows, negatives: pa.Table, ids: pa.ChunkedArray) -> tuple[Rows, Rows]:
    """Triplets of the queries of patents ``own`` (q,): place of the query and row of the negative, (m,) each.

    They are in the order of both.
    """
    patent, other = rows_of(negatives["publication_number"], ids), rows_of(negatives["negative"], ids)
    order = np.lexsort((other, patent))
    patent, other = patent[order], other[order]
    query, place = matches(own, patent)
    return query, other[place]
