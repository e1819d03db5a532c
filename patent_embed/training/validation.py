"""The validation set, and nDCG on it during training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray

from patent_embed.arrays import Rows, Strings, numbered, rows_of
from patent_embed.data.codes import flattened, main_groups
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens
from patent_embed.evaluation import metrics
from patent_embed.evaluation.measure import headline_mask
from patent_embed.evaluation.metrics import Floats
from patent_embed.evaluation.qrels import Qrels
from patent_embed.evaluation.search import exact_search
from patent_embed.hashing import hash_strings
from patent_embed.training import distributed


@dataclass(frozen=True)
class RetrievalSet:
    """Queries of one split, and the patents they are searched in.

    Attributes:
        queries, passages: token stores.
        query_family: (len(queries),), passage_family: (len(passages),): a passage is relevant to a query when
            their families are the same, unless there are links.
        links: (r, 2) rows of queries and of passages: with them those passages are relevant, and the query's own
            family is left out of what is found.
    """

    queries: Tokens
    passages: Tokens
    query_family: np.ndarray
    passage_family: np.ndarray
    links: np.ndarray | None = None


@dataclass(frozen=True)
class Limit:
    """How many patents a split's queries are searched in, ``most``, and the ``seed`` of their draw."""

    most: int
    seed: int

    def applied(self, pool: Rows, always: NDArray[np.bool_], ids: pa.ChunkedArray) -> Rows:
        """Those of ``pool``, ascending rows of a corpus, that are searched: all that are ``always`` (n,), and of the
        others those whose ids have the lowest hashes."""
        if len(pool) <= self.most:
            return pool
        certain, others = pool[always[pool]], pool[~always[pool]]
        hashes = hash_strings(ids.take(pa.array(others)).combine_chunks(), self.seed)
        drawn = np.argsort(hashes, kind="stable")[: max(0, self.most - len(certain))]
        return np.sort(np.concatenate([certain, others[drawn]]))


@dataclass(frozen=True)
class RetrievalRows:
    """What a ``RetrievalSet`` is before its texts are read: rows of the table of queries, and of the corpus, both
    ascending, and their families."""

    queries: Rows
    passages: Rows
    query_family: Rows
    passage_family: Rows

    def with_texts(self, queries: Tokens, passages: Tokens) -> RetrievalSet:
        """The set, with the texts of its rows."""
        return RetrievalSet(queries, passages, self.query_family, self.passage_family)


def build_retrieval_set(
    encoder: Encoder,
    corpus: pa.Table,
    splits: pa.Table,
    queries: pa.Table,
    split: str,
    sources: Sequence[str] | None,
    limit: Limit | None = None,
) -> RetrievalSet:
    """The set of ``retrieval_rows``, its texts from ``corpus`` (``abstract, codes``) and ``queries`` (``query``)."""
    found = retrieval_rows(lambda: [corpus["codes"]], splits, queries, split, sources, limit)
    asked = encoder.tokenize(Strings(queries["query"], found.queries), "query")
    return found.with_texts(asked, encoder.tokenize(Strings(corpus["abstract"], found.passages), "passage"))


Codes = Callable[[], Iterable[pa.ChunkedArray]]
"""The code lists of a corpus, in parts of which one is held at a time; they can be asked for twice."""


def retrieval_rows(
    codes: Codes,
    splits: pa.Table,
    queries: pa.Table,
    split: str,
    sources: Sequence[str] | None,
    limit: Limit | None = None,
) -> RetrievalRows:
    """Queries of ``split``, against the abstracts of that split and, from the others, those of the main groups asked
    for: the whole corpus would cost its encoding every epoch, the split alone is too easy to tell epochs apart. A
    training abstract among the candidates tells nothing about a validation query.

    Args:
        splits: rows as in the corpus.
        queries: ``publication_number, source``.
        sources: of the queries; None: all but those of rules where there are any others. Rule queries reward word
            overlap, so a few others judge an epoch better than many of them.
        limit: of the candidates.
    """
    member, ids = pc.equal(splits["split"], split).to_numpy(), splits["publication_number"]
    patent = rows_of(queries["publication_number"], ids)
    of_split = np.flatnonzero(member[patent])
    chosen = of_split[headline_mask(queries["source"].take(pa.array(of_split)), sources, split)]
    asked = patent[chosen]
    pool = np.flatnonzero(member | shares_main_group(codes, asked))
    if limit is not None:
        pool = limit.applied(pool, member, ids)
    family = numbered(splits["family"])[0].astype(np.int64)
    return RetrievalRows(chosen, pool, family[asked], family[pool])


def shares_main_group(codes: Codes, rows: Rows) -> NDArray[np.bool_]:
    """(n,) patents with a code of a main group that one of ``rows`` has."""
    asked, first = np.unique(rows), 0
    groups, shared = [pa.array([], pa.string())], [np.zeros(0, np.bool_)]
    for part in codes():
        inside = asked[(asked >= first) & (asked < first + len(part))] - first
        groups.append(pc.unique(main_groups(flattened(part.take(pa.array(inside)))[1])))
        first += len(part)
    wanted = pc.unique(pa.concat_arrays(groups))
    for part in codes():
        owner, symbols = flattened(part)
        mine = np.zeros(len(part), np.bool_)
        mine[owner[pc.is_in(main_groups(symbols), value_set=wanted).to_numpy(zero_copy_only=False)]] = True
        shared.append(mine)
    return np.concatenate(shared)


def validation_ndcg(encoder: Encoder, data: RetrievalSet, k: int = 10) -> Floats:
    """nDCG@k of the encoder as it is on each query: (q,). In a process group every rank encodes a share and all get
    the values."""
    tokens = Tokens.concat([data.queries, data.passages])
    shares = distributed.split_by_weight(tokens.lengths, distributed.world_size())
    mine = shares[distributed.rank()]
    rows = np.arange(mine.start, mine.stop)
    share = torch.from_numpy(encoder.encode(tokens.take(rows)) if len(rows) else np.empty((0, encoder.dim), np.float32))
    if encoder.sharded:
        passes = [encoder.forward_passes(tokens.lengths[part]) for part in shares]
        for _ in range(distributed.missing(passes)):  # every rank takes part in each
            encoder.encode(tokens.take(np.zeros(1, np.int64)))
    sizes = [part.stop - part.start for part in shares]
    # NCCL moves device tensors only.
    embeddings = distributed.gather_rows(share.to(next(encoder.model.parameters()).device), sizes).cpu().numpy()
    return _ndcg(embeddings, data, k)


def retrieval_ndcg(encoder: Encoder, data: RetrievalSet, k: int = 10) -> Floats:
    """The same without a process group."""
    return _ndcg(encoder.encode(Tokens.concat([data.queries, data.passages])), data, k)


def _ndcg(embeddings: np.ndarray, data: RetrievalSet, k: int) -> Floats:
    """``embeddings``: of the queries, then of the passages."""
    queries, passages = embeddings[: len(data.queries)], embeddings[len(data.queries) :]
    if data.links is not None:
        return _linked_ndcg(queries, passages, data, data.links, k)
    _, ranked = exact_search(queries, passages, k)
    relevant = metrics.group_sizes(data.query_family, data.passage_family)
    return metrics.ndcg(metrics.hits(ranked, data.query_family, data.passage_family), relevant, k)


def _linked_ndcg(queries: np.ndarray, passages: np.ndarray, data: RetrievalSet, links: np.ndarray, k: int) -> Floats:
    own = metrics.group_sizes(data.query_family, data.passage_family)
    _, ranked = exact_search(queries, passages, min(k + int(own.max(initial=0)), len(passages)))
    kin = metrics.hits(ranked, data.query_family, data.passage_family)
    others = np.argsort(kin, axis=1, kind="stable")  # the own family behind all others
    linked = Qrels.of(links[:, 0], links[:, 1], np.ones(len(links), np.int64))
    asked = np.arange(len(queries))
    hit = (linked.grades(asked, ranked) > 0) & ~kin
    return metrics.ndcg(np.take_along_axis(hit, others, axis=1)[:, :k], linked.relevant(asked), k)
