"""Retrieval measured: systems on the same queries against the whole corpus, and whether one is better than another.

A query's relevant set is its own patent and that patent's family; ``GRADED`` is a second view, through the
classification (``relevance``). Everything is kept as one row a query (``PER_QUERY``): summaries, slices and paired
tests are views of that table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed import metrics
from patent_embed.errors import UserError
from patent_embed.projection import PatentMap
from patent_embed.relevance import IpcRelevance
from patent_embed.search import Rows, Vectors, exact_search, pair_scores

EVALUATED_SPLITS = ("val", "test")
HEADLINE = "ndcg@10"
RETRIEVAL_METRICS = ("ndcg@10", "mrr@10", "map@50", "recall@1", "recall@5", "recall@10", "recall@50")
GRADED = "graded_ndcg@10"
PAIR_METRICS = ("triplet_accuracy", "positive_similarity", "negative_similarity")
METRICS = (*RETRIEVAL_METRICS, GRADED, *PAIR_METRICS)
DEPTH = 50  # documents retrieved for each query
RULES = "rules"
ENOUGH_QUERIES = 50
RESAMPLES = 10_000

PER_QUERY = pa.schema(
    [
        ("publication_number", pa.string()),
        ("query_no", pa.int32()),
        ("split", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("headline", pa.bool_()),  # counts in the headline metrics of its split
        ("relevant", pa.int32()),  # size of the relevant set
        ("rank", pa.int32()),  # of the first relevant document; 0: not among the first DEPTH
        ("first", pa.string()),  # the document at the top
        *((name, pa.float64()) for name in (*RETRIEVAL_METRICS, GRADED)),  # GRADED: null where no codes are known
        ("positive_similarity", pa.float64()),
        ("negative_similarity", pa.float64()),  # mean over the query's negatives; null without any
        ("negative_similarities", pa.list_(pa.float32())),  # of each of them
        ("triplets", pa.int32()),
        ("triplets_won", pa.int32()),  # with a positive strictly more similar than the negative
    ]
)


class System(Protocol):
    """What can be measured. Rows name queries and documents."""

    @property
    def scale(self) -> str:
        """Unit of its scores: ``cosine`` or ``bm25``."""

    def search(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        """Scores and rows (len(queries), <= k) of the best documents by (-score, row); row -1: nothing more found."""

    def pairs(self, queries: Rows, passages: Rows) -> Vectors:
        """Scores (m,) of the pairs ``queries`` (m,), ``passages`` (m,)."""


class EmbeddingSystem:
    """Cosine similarity of given embeddings: ``queries`` (q, d) and ``passages`` (n, d), float32, unit length.

    ``device``: where the matrix products run (``cuda``); None: numpy.
    """

    scale = "cosine"

    def __init__(self, queries: Vectors, passages: Vectors, device: str | None = None) -> None:
        self._queries, self._passages, self._device = queries, passages, device

    def search(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        return exact_search(self._queries[queries], self._passages, k, device=self._device)

    def pairs(self, queries: Rows, passages: Rows) -> Vectors:
        return pair_scores(self._queries, self._passages, queries, passages)


@dataclass(frozen=True)
class EvalResult:
    """One system's results.

    Attributes:
        per_query: the columns of ``PER_QUERY``, queries in their order.
        general: of an encoder: similarities of general sentence pairs (``forgetting.PAIRS``).
        map: of an encoder: where it puts the test patents.
    """

    name: str
    scale: str
    per_query: pa.Table
    general: pa.Table | None = None
    map: PatentMap | None = None

    def rows(self, split: str, *, headline: bool = True) -> pa.Table:
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


def summarise(per_query: pa.Table) -> dict[str, Any]:
    """``{"queries": n, "metrics": {name: mean or None}}``. Triplet accuracy and the similarity of negatives are means
    over triplets, everything else over queries."""
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
) -> EvalResult:
    """Measure ``system`` on the queries of val and test.

    Args:
        queries: ``publication_number, query_no, query, source, kind``; the system's query rows are its rows.
        splits: ``publication_number, family, split``; the system's document rows are its rows, sorted by id.
        negatives: ``publication_number, negative``.
        query_sources: of the headline set, see ``headline_mask``.
        codes: full codes of each document, rows as in ``splits``; None: graded relevance is not measured.
    """
    ids = splits["publication_number"]
    own = rows_of(queries["publication_number"], ids)
    split_of_query = splits["split"].take(pa.array(own))
    chosen = np.flatnonzero(pc.is_in(split_of_query, value_set=pa.array(EVALUATED_SPLITS)).to_numpy())
    table, own = queries.take(pa.array(chosen)), own[chosen]
    split = np.asarray(split_of_query.take(pa.array(chosen)).to_pylist(), dtype=object)
    headline = np.zeros(len(chosen), np.bool_)
    for part in EVALUATED_SPLITS:
        mine = np.flatnonzero(split == part)
        headline[mine] = headline_mask(table["source"].take(pa.array(mine)), query_sources)

    family = pc.dictionary_encode(splits["family"].combine_chunks()).indices.to_numpy().astype(np.int64)
    _, ranked = system.search(chosen, DEPTH)
    hit = metrics.hits(ranked, family[own], family)
    relevant = metrics.group_sizes(family[own], family)
    anchor, negative = _negatives_of(own, negatives, ids)
    graded = None if codes is None else _graded(IpcRelevance(codes, family), own, ranked)
    first = ranked[:, 0] if ranked.shape[1] else np.full(len(own), -1)
    positive_score = system.pairs(chosen, own)
    negative_score = system.pairs(chosen[anchor], negative)
    triplets = np.bincount(anchor, minlength=len(own))
    negative_sum = np.bincount(anchor, weights=negative_score, minlength=len(own))
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
        GRADED: pa.nulls(len(own)) if graded is None else graded,
        "positive_similarity": positive_score,
        "negative_similarity": pa.array(negative_sum / np.maximum(triplets, 1), mask=triplets == 0),
        "negative_similarities": pa.ListArray.from_arrays(
            np.concatenate([[0], np.cumsum(triplets)]).astype(np.int32), negative_score.astype(np.float32)
        ),
        "triplets": triplets,
        "triplets_won": np.bincount(anchor[positive_score[anchor] > negative_score], minlength=len(own)),
    }
    arrays = [_column(columns[field.name]).cast(field.type) for field in PER_QUERY]
    return EvalResult(name, system.scale, pa.table(arrays, schema=PER_QUERY))


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


def rows_of(ids: pa.ChunkedArray, corpus_ids: pa.ChunkedArray) -> Rows:
    """Row of each id in ``corpus_ids``. Raises ValueError for an id that is not there."""
    rows = pc.index_in(ids, value_set=corpus_ids)
    if rows.null_count:
        missing = ids.filter(pc.is_null(rows))[0].as_py()
        raise ValueError(f"{rows.null_count} ids are not in the corpus, {missing!r} among them")
    found: Rows = rows.to_numpy().astype(np.int64)
    return found


def headline_mask(source: pa.ChunkedArray, wanted: Sequence[str] | None, enough: int = ENOUGH_QUERIES) -> np.ndarray:
    """Which queries of a split count in its headline metrics, by their sources: (q,) bool.

    With ``wanted`` None: all but those of rules where at least ``enough`` such queries exist. A rule query is lifted
    from its abstract, so it rewards word overlap; it stands in only where nothing better exists. Raises UserError when
    ``wanted`` matches none of the queries.
    """
    found = source.to_pylist()
    if wanted is None:
        written = np.array([name != RULES for name in found], np.bool_)
        return written if written.sum() >= enough else np.ones(len(found), np.bool_)
    mask = np.array([name in wanted for name in found], np.bool_)
    if len(found) and not mask.any():
        counts = ", ".join(f"{name} {found.count(name)}" for name in sorted(set(found)))
        raise UserError(
            f"evaluation.query_sources {list(wanted)} matches none of a split's queries ({counts}), so there is "
            "nothing to measure on; name one of these sources, or leave the setting out"
        )
    return mask


def _negatives_of(own: Rows, negatives: pa.Table, ids: pa.ChunkedArray) -> tuple[Rows, Rows]:
    """Triplets of the queries of patents ``own`` (q,): place of the query, and row of the negative, in order of both;
    (m,) each."""
    patent, other = rows_of(negatives["publication_number"], ids), rows_of(negatives["negative"], ids)
    order = np.lexsort((other, patent))
    patent, other = patent[order], other[order]
    first, last = np.searchsorted(patent, own, "left"), np.searchsorted(patent, own, "right")
    count = last - first
    query = np.repeat(np.arange(len(own)), count)
    return query, other[np.arange(len(query)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)]


@dataclass(frozen=True)
class Comparison:
    """One system against another on the same headline queries.

    ``low`` and ``high`` bound the difference with 95 % confidence (paired bootstrap), ``p_value`` is that of a paired
    randomisation test, two-sided; both draw whole patents. ``verdict``: ``better`` or ``worse`` when both agree that
    there is a difference at the 5 % level, else ``no difference``.
    """

    system: str
    baseline: str
    split: str
    metric: str
    queries: int
    patents: int
    system_mean: float
    baseline_mean: float
    difference: float
    low: float
    high: float
    p_value: float
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    system: EvalResult, baseline: EvalResult, *, split: str = "test", metric: str = HEADLINE, seed: int = 0
) -> Comparison | None:
    """Whether ``system`` is better than ``baseline``; None when ``split`` has no queries."""
    ours, theirs = system.rows(split), baseline.rows(split)
    for key in ("publication_number", "query_no"):
        if ours[key].to_pylist() != theirs[key].to_pylist():
            raise ValueError(f"{system.name} and {baseline.name} were not measured on the same {split} queries")
    return compare_rows(system.name, baseline.name, ours, theirs, split=split, metric=metric, seed=seed)


def compare_rows(
    system: str,
    baseline: str,
    ours: pa.Table,
    theirs: pa.Table,
    *,
    split: str,
    metric: str,
    seed: int,
    resamples: int = RESAMPLES,
) -> Comparison | None:
    """``compare`` of given rows of ``PER_QUERY``, the same queries in both tables; None without any."""
    if not len(ours):
        return None
    own, other = (table[metric].to_numpy() for table in (ours, theirs))
    patent = pc.dictionary_encode(ours["publication_number"].combine_chunks()).indices.to_numpy().astype(np.int64)
    difference = own - other
    low, high = metrics.paired_bootstrap(difference, patent, seed)
    p_value = metrics.paired_randomisation(difference, patent, seed, resamples)
    return Comparison(
        system=system,
        baseline=baseline,
        split=split,
        metric=metric,
        queries=len(ours),
        patents=len(np.unique(patent)),
        system_mean=float(own.mean()),
        baseline_mean=float(other.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        p_value=p_value,
        verdict=verdict(low, high, p_value),
    )


def verdict(low: float, high: float, p_value: float) -> str:
    """``better`` or ``worse`` where interval and test agree that there is a difference, else ``no difference``."""
    if p_value < 0.05 and (low > 0 or high < 0):
        return "better" if low > 0 else "worse"
    return "no difference"
