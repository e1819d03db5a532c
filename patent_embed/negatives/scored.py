"""Negatives with a model's scores: the positive-aware filter, and the strategy ``hard``.

A candidate that scores almost as high as the anchor's own abstract, or higher, is more likely a second right answer
than a negative; it is refused when its score to a query is above ``max_ratio`` of the way from a random patent's score
to the positive's, or above ``max_score``. NV-Retriever (arXiv 2407.15831, "TopK-PercPos") takes the way from 0, but
where that is depends on the encoder: E5 gives two random patents 0.75, BGE 0.3. So what a random patent scores is
measured here, for each query: the mean over the corpus. Of what is left, the hardest are taken, ``skip_hardest`` and
``take_within`` permitting.

The candidates of a rung are those of ``ladder``, and the same rules hold: ``pool`` of them are drawn and scored. The
strategy ``hard`` does not draw them: it takes the ``pool`` best of the anchor's main groups and of its subclasses, by
products of blocks of queries with a container's patents (containers of more than ``HARD_CAP`` patents are cut), and
chooses the hardest of both together; drawn patents of other subclasses only fill what is missing.
Scores are cosines. A patent with several queries has one list of negatives: a candidate is refused when any of the
queries refuses it, and its score is the highest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.arrays import Int32, Int64, UInt64, grouped, owners_of, ranges_of, starts_of
from patent_embed.config.negatives import NegativesConfig, ScoringConfig
from patent_embed.data.schemas import NEGATIVES
from patent_embed.errors import UserError
from patent_embed.negatives.drawn import Mined, to_batch
from patent_embed.negatives.ladder import GROUP_CAP, Draw, Ladder, climb
from patent_embed.negatives.patents import Patents, read_patents
from patent_embed.negatives.products import MAX_PRODUCTS, Float32, Products
from patent_embed.negatives.rings import Ring, common_key, take_turns
from patent_embed.negatives.tally import Tally
from patent_embed.strategies.base import STRATEGIES

# Patents in a container that is searched exactly, about; larger ones are cut, as by ``GROUP_CAP``.
HARD_CAP = 1 << 14
# So many more of the best of a container are looked at than the pool holds, since some of them are of the family or
# share a key that belongs to another container. Where still more are refused, the pool stays short.
SPARE = 16
# Of the scores, in the report.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BLOCK = 1 << 13  # anchors whose pools are scored at once


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors, which may be memory-mapped, and of 16 bits. Raises ValueError where they do not fit or are longer.

    Attributes:
        passages: (patents, dim) in the order of the corpus.
        queries: (queries, dim), any number a patent, with the publication number of each in ``query_ids``.
        owner: (passages,) the row in the corpus that each passage is of, ascending, where a patent may have several, of
            which the best counts; None: each has one.
    """

    passages: Float32
    queries: Float32
    query_ids: pa.Array
    owner: Int64 | None = None

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.query_ids) or self.passages.shape[1:] != self.queries.shape[1:]:
            raise ValueError(
                f"passages {self.passages.shape}, queries {self.queries.shape} and {len(self.query_ids)} ids do not fit"
            )
        for vectors in (self.passages[:1000], self.queries[:1000]):
            if not np.allclose(np.linalg.norm(vectors.astype(np.float32), axis=1), 1, atol=1e-2):
                raise ValueError("embeddings must have unit length: the filter compares cosines")

    @property
    def patents(self) -> int:
        """How many have a vector."""
        return len(self.passages) if self.owner is None else int(self.owner[-1]) + 1 if len(self.owner) else 0


def mine_scored_negatives(
    corpus: pa.Table,
    splits: pa.Table,
    config: NegativesConfig,
    seed: int,
    embeddings: Embeddings,
    *,
    device: str = "cpu",
    group_cap: int | None = None,
) -> Mined:
    """Negatives of every patent that has a query, scored and filtered; any strategy. See ``mine_negatives``.

    ``device``: where the products are computed; other than ``cpu``, all passages must fit into its memory. The choice
    is the same for any order of rows up to the rounding of the products. Raises UserError as ``mine_negatives`` does,
    and for queries of unknown patents.
    """
    if embeddings.patents != len(corpus):
        raise ValueError(f"{embeddings.patents} patents have passages, the corpus has {len(corpus)}")
    if config.per_positive > config.scoring.pool - config.scoring.skip_hardest:
        raise UserError(
            f"negatives.scoring.pool {config.scoring.pool} less skip_hardest {config.scoring.skip_hardest} cannot give "
            f"{config.per_positive} negatives; raise the pool"
        )
    patents = read_patents(corpus, splits, seed)
    ranked = STRATEGIES[config.strategy].ranked
    ladder = Ladder(patents, group_cap or (HARD_CAP if ranked else GROUP_CAP))
    scorer = CandidateScorer(patents, corpus["publication_number"].combine_chunks(), embeddings, config.scoring, device)
    tally = Tally(config.per_positive)
    searches = [scorer.search(ladder.ring(rung), tally) for rung in range(ranked)]
    batches, scores = [], []
    for low in range(0, len(scorer.anchors), _BLOCK):
        block = scorer.anchors[low : low + _BLOCK]
        draw = partial(ladder.candidates, block, tally.search)
        if ranked:
            pools = [search.candidates(low, low + len(block)) for search in searches]
            negatives, rungs, counts = _hardest(scorer, block, pools, draw, config, tally)
        else:
            negatives, rungs, counts = climb(partial(scorer.draw, draw, block, tally), patents.hash[block], config)
        tally.count(counts, rungs)
        scores.append(scorer.scores(np.repeat(block, counts), negatives))
        batches.append(to_batch(patents.ids, block, negatives, rungs, counts, scores[-1]))
    report = tally.report(patents.group_sizes())
    report["scores"] = {
        "positive": quantiles(scorer.scores(scorer.anchors, scorer.anchors)),
        "negative": quantiles(np.concatenate([*scores, np.zeros(0, np.float32)])),
        "random": quantiles(scorer.random_scores()),
    }
    return Mined(pa.Table.from_batches(batches, NEGATIVES), report)


def quantiles(scores: Float32) -> dict[str, float]:
    """Of the scores, by name, e.g. ``{"0.5": 0.71}``; empty when there are none."""
    values = np.quantile(scores, QUANTILES).tolist() if len(scores) else []
    return {f"{q:g}": round(value, 4) for q, value in zip(QUANTILES, values, strict=False)}


class CandidateScorer:
    """Scores candidates and refuses those that are too close. ``anchors`` are the rows that have queries, ascending."""

    def __init__(
        self, patents: Patents, corpus_ids: pa.Array, embeddings: Embeddings, config: ScoringConfig, device: str
    ) -> None:
        rows = pc.index_in(embeddings.query_ids, value_set=patents.ids)
        if rows.null_count:
            unknown = embeddings.query_ids.filter(rows.is_null())
            raise UserError(
                f"{len(unknown)} queries are of patents that are not in the corpus, the first of "
                f"{unknown[0].as_py()!r}; take queries and negatives from the same corpus"
            )
        passages, spans = embeddings.passages, None
        place = None if corpus_ids.equals(patents.ids) else pc.index_in(patents.ids, value_set=corpus_ids).to_numpy()
        if embeddings.owner is not None:
            count = np.bincount(embeddings.owner)
            spans = starts_of(count)[:-1], count
            spans = spans if place is None else (spans[0][place], spans[1][place])
        elif place is not None:
            passages = passages[place]
        self._products = Products(passages, device, spans)
        self._mean = self._products.mean()  # its product with a query is the mean of all passages' scores to it
        self._config = config
        row = rows.to_numpy()
        self._query = np.argsort(row, kind="stable")  # the queries, anchor by anchor
        self.anchors, counts = np.unique(row, return_counts=True)
        self._first = starts_of(counts)
        self._queries = embeddings.queries
        self._hash = patents.hash

    def scores(self, anchors: Int32, others: Int32) -> Float32:
        """The highest score of each passage to a query of its anchor."""
        best = np.full(len(anchors), -np.inf, np.float32)
        for some, queries in self._queries_of(anchors):
            best[some] = np.maximum(best[some], self._products.dots(queries, others[some, None])[:, 0])
        return best

    def random_scores(self) -> Float32:
        """What a random patent scores to each of the anchors' queries, on average: (queries,)."""
        scores: Float32 = self._queries.astype(np.float32, copy=False) @ self._mean
        return scores

    def rank(self, anchors: Int32, pools: Int32, tally: Tally) -> tuple[Int32, Int64, Int64]:
        """What may be taken of the pools (b, p; -1 is no candidate) of ``anchors`` (b,), hardest first.

        Returns:
            rows and their places in the pool, (b, p) each, and how many of them count, (b,). Refusals go into
            ``tally``.
        """
        config, real = self._config, pools >= 0
        best = np.full(pools.shape, -np.inf, np.float32)
        near, high = np.zeros((2, *pools.shape), np.bool_)
        for some, queries in self._queries_of(anchors):
            scores = self._products.dots(queries, np.maximum(pools[some], 0))
            if config.max_ratio is not None:
                positive = self._products.dots(queries, anchors[some, None])
                spread = np.abs(positive - (queries @ self._mean)[:, None])  # a query may miss its own patent
                near[some] |= scores > positive - (1 - config.max_ratio) * spread
            if config.max_score is not None:
                high[some] |= scores > config.max_score
            best[some] = np.maximum(best[some], scores)
        tally.search["above_ratio"] += int(np.count_nonzero(near & real))
        tally.search["above_score"] += int(np.count_nonzero(high & real & ~near))
        left = real & ~near & ~high
        order = np.lexsort((pools, np.where(left, -best, np.inf)), axis=1)[:, config.skip_hardest : config.take_within]
        counts = np.clip(np.count_nonzero(left, axis=1) - config.skip_hardest, 0, order.shape[1])
        return np.take_along_axis(pools, order, axis=1), order, counts

    def draw(self, draw: Draw, anchors: Int32, tally: Tally, rung: int, which: Int64, k: int) -> tuple[Int32, Int64]:
        """As ``Draw``, of candidates that are left by the filter, hardest first."""
        pools, _ = draw(rung, which, self._config.pool)
        rows, _, counts = self.rank(anchors[which], pools, tally)
        counts = np.minimum(counts, k)
        out = np.full((len(rows), k), -1, np.int32)
        kept = np.arange(min(k, rows.shape[1])) < counts[:, None]
        out[:, : kept.shape[1]][kept] = rows[:, :k][kept]
        return out, counts

    def search(self, ring: Ring, tally: Tally) -> SearchHits:
        """The best ``pool`` of each container of ``ring``, exactly, for each of the anchors' queries."""
        queries = np.diff(self._first)
        pair_start = ring.patent_start[self.anchors]
        pairs = ring.patent_start[self.anchors + 1] - pair_start
        of_query = owners_of(queries)
        entry_pair = ranges_of(pair_start[of_query], pairs[of_query])
        entry_query = np.repeat(self._query, pairs[of_query])
        entry_anchor = np.repeat(self.anchors[of_query], pairs[of_query]).astype(np.int32)
        best = np.full((len(entry_pair), self._config.pool), -1, np.int32)
        carriers = Carriers.of(ring)
        container = ring.pair_container[entry_pair]
        order, start = grouped(container, len(ring.container_hash))
        for number in np.flatnonzero(np.diff(start)).tolist():
            group = order[start[number] : start[number + 1]]
            begin, end = ring.container_start[number : number + 2].tolist()
            step = max(1, MAX_PRODUCTS // (end - begin))
            for low in range(0, len(group), step):
                some = group[low : low + step]
                vectors = self._queries[entry_query[some]].astype(np.float32, copy=False)
                who = entry_anchor[some], entry_pair[some]
                best[some] = self._best(ring, carriers, begin, end, *who, vectors, tally)
        return SearchHits(best, queries * pairs, starts_of(queries * pairs), self._hash[self.anchors])

    def _best(
        self,
        ring: Ring,
        carriers: Carriers,
        begin: int,
        end: int,
        anchors: Int32,
        pairs: Int64,
        queries: Float32,
        tally: Tally,
    ) -> Int32:
        """The best ``pool`` members of one container for each query, -1 after the last."""
        members, k = ring.member[begin:end], self._config.pool
        cells = ring.pair_start[pairs + 1] - ring.pair_start[pairs]
        own = ring.own_cell[ranges_of(ring.pair_start[pairs], cells)]
        sizes = carriers.start[own + 1] - carriers.start[own]
        line = owners_of(cells) * len(members) - begin
        hidden = np.repeat(line, sizes) + carriers.place[ranges_of(carriers.start[own], sizes)]
        scores, best = self._products.top(queries, members, hidden, min(k + SPARE, len(members)))
        rows, real = members[best], scores > -np.inf
        kin = real & (ring.family[rows] == ring.family[anchors[:, None]])
        allowed = real & ~kin
        allowed &= ~common_key(ring, anchors[:, None], rows, allowed)
        tally.search["same_family"] += int(np.count_nonzero(kin))
        tally.search["shared_code"] += int(np.count_nonzero(real & ~kin & ~allowed))
        place = np.cumsum(allowed, axis=1) - 1
        allowed &= place < k
        out = np.full((len(pairs), k), -1, np.int32)
        r, c = np.nonzero(allowed)
        out[r, place[r, c]] = rows[r, c]
        return out

    def _queries_of(self, anchors: Int32) -> Iterator[tuple[Int64, Float32]]:
        """One query of each anchor, until there are no more: which anchors still have one, and the vectors."""
        at = np.searchsorted(self.anchors, anchors)
        counts = self._first[at + 1] - self._first[at]
        for turn in range(int(counts.max(initial=0))):
            some = np.flatnonzero(counts > turn)
            yield some, self._queries[self._query[self._first[at[some]] + turn]].astype(np.float32, copy=False)


@dataclass(frozen=True)
class Carriers:
    """Who carries a key: the places in ``ring.member`` of those of cell c are ``place[start[c]:start[c + 1]]``."""

    start: Int64
    place: Int64

    @classmethod
    def of(cls, ring: Ring) -> Carriers:
        """The carriers of every cell of ``ring``, whichever of their keys they are listed under."""
        pair_patent = owners_of(np.diff(ring.patent_start))
        member_container = owners_of(np.diff(ring.container_start))
        place_of_pair = np.empty(len(pair_patent), np.int64)
        place_of_pair[np.lexsort((pair_patent, ring.pair_container))] = np.lexsort((ring.member, member_container))
        place = np.repeat(place_of_pair, np.diff(ring.pair_start))
        order, start = grouped(ring.own_cell, len(ring.cell_start) - 1)
        return cls(start, place[order])


@dataclass(frozen=True)
class SearchHits:
    """The best candidates of each (anchor, query, container), in the order of the anchors.

    Attributes:
        rows: (lists, pool) rows of patents, best first, -1 after the last.
        counts: (anchors,) lists of each anchor, which begin at ``start`` (anchors + 1,).
        anchor_hash: (anchors,)
    """

    rows: Int32
    counts: Int64
    start: Int64
    anchor_hash: UInt64

    def candidates(self, low: int, high: int) -> Int32:
        """For the anchors ``low:high``, the lists' candidates in turns, (high - low, p) with -1 after the last."""
        lists = self.rows[self.start[low] : self.start[high]]
        return take_turns(lists, self.counts[low:high], self.anchor_hash[low:high])[0]


def _hardest(
    scorer: CandidateScorer, anchors: Int32, pools: list[Int32], draw: Draw, config: NegativesConfig, tally: Tally
) -> tuple[Int32, Int32, Int64]:
    """As ``climb``: the hardest of the pools of the first rungs together, then drawn ones of the last rung."""
    k, pool = config.per_positive, config.scoring.pool
    rows, place, counts = scorer.rank(anchors, np.concatenate(pools, axis=1), tally)
    rows, rungs = rows[:, :k], (place[:, :k] // pool).astype(np.int32)
    counts = np.minimum(counts, rows.shape[1])
    rest, rest_counts = np.full((len(anchors), k), -1, np.int32), np.zeros(len(anchors), np.int64)
    lacking = np.flatnonzero(counts < k)
    if len(lacking):
        rest[lacking], rest_counts[lacking] = scorer.draw(draw, anchors, tally, len(pools), lacking, k)
    rest_counts = np.minimum(rest_counts, k - counts)
    kept = np.concatenate([np.arange(rows.shape[1]) < counts[:, None], np.arange(k) < rest_counts[:, None]], axis=1)
    rungs = np.concatenate([rungs, np.full(rest.shape, len(pools), np.int32)], axis=1)
    return np.concatenate([rows, rest], axis=1)[kept], rungs[kept], counts + rest_counts
