"""From the artifacts' tables to what training reads: triplets over one token store, and the validation set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from patent_embed import distributed, metrics
from patent_embed.encoder import Encoder
from patent_embed.evaluation import headline_mask, rows_of
from patent_embed.packing import Tokens
from patent_embed.search import exact_search
from patent_embed.training import TripletData

# With this many queries of a model, adding those of rules made the tuned encoder worse (docs/quality.md).
ENOUGH_TO_TRAIN = 500


def build_triplets(
    encoder: Encoder,
    corpus: pa.Table,
    splits: pa.Table,
    queries: pa.Table,
    negatives: pa.Table,
    sources: Sequence[str] | None,
) -> TripletData:
    """Triplets of the train split: each query with its patent's abstract and each of that patent's negatives.

    ``corpus`` and ``splits`` are row-aligned (both sorted by id). ``sources`` limits the queries used; None: all but
    those of rules where at least ``ENOUGH_TO_TRAIN`` are left.
    """
    in_train = pc.equal(splits["split"], "train").to_numpy()
    ids = corpus["publication_number"]
    query_rows = rows_of(queries["publication_number"], ids)
    keep = in_train[query_rows]
    queries, query_rows = queries.filter(pa.array(keep)), query_rows[keep]
    keep = headline_mask(queries["source"], sources, enough=ENOUGH_TO_TRAIN)
    queries, query_rows = queries.filter(pa.array(keep)), query_rows[keep]

    anchors = rows_of(negatives["publication_number"], ids)  # ascending: the table is sorted by anchor
    others = rows_of(negatives["negative"], ids)
    begin, end = np.searchsorted(anchors, query_rows, "left"), np.searchsorted(anchors, query_rows, "right")
    counts = end - begin
    query = np.repeat(np.arange(len(queries)), counts)
    position = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(begin, counts)
    patents = np.stack([query_rows[query], others[position]], axis=1)

    used, compact = np.unique(patents, return_inverse=True)
    passages = encoder.tokenize(_take(corpus["abstract"], used), "passage")
    tokens = Tokens.concat([encoder.tokenize(queries["query"].to_pylist(), "query"), passages])
    family = _families(splits)
    return TripletData(
        tokens=tokens,
        triplets=np.column_stack([query, compact.reshape(-1, 2) + len(queries)]),
        family=np.concatenate([family[query_rows], family[used]]),
    )


@dataclass(frozen=True)
class RetrievalSet:
    """Queries of one split, and the patents they are searched in.

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
    """The headline queries of ``split``, against the abstracts of that split and, from the others, those of the main
    groups asked for: the whole corpus would cost its encoding every epoch, the split alone is too easy to tell epochs
    apart. A training abstract among the candidates tells nothing about a validation query."""
    member = pc.equal(splits["split"], split).to_numpy()
    ids = corpus["publication_number"]
    of_split = queries.filter(pa.array(member[rows_of(queries["publication_number"], ids)]))
    chosen = of_split.filter(pa.array(headline_mask(of_split["source"], sources)))
    asked = rows_of(chosen["publication_number"], ids)
    pool = np.flatnonzero(member | _shares_main_group(corpus["codes"], asked))
    family = _families(splits)
    return RetrievalSet(
        queries=encoder.tokenize(chosen["query"].to_pylist(), "query"),
        passages=encoder.tokenize(_take(corpus["abstract"], pool), "passage"),
        query_family=family[asked],
        passage_family=family[pool],
    )


def save_training_data(folder: Path, data: TripletData, val: RetrievalSet) -> None:
    """Write both into the new ``folder`` as plain arrays, one ``.npy`` file each."""
    folder.mkdir()
    arrays = {f"train-{name}": value for name, value in _arrays(data).items()}
    for name, value in (arrays | {f"val-{name}": value for name, value in _arrays(val).items()}).items():
        np.save(folder / f"{name}.npy", value, allow_pickle=False)


def load_training_data(folder: Path) -> tuple[TripletData, RetrievalSet]:
    """What ``save_training_data`` wrote; the arrays are mapped, not read."""

    def array(name: str) -> np.ndarray:
        found: np.ndarray = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return found

    def tokens(name: str) -> Tokens:
        return Tokens(array(f"{name}-ids"), array(f"{name}-offsets"))

    data = TripletData(tokens("train-tokens"), array("train-triplets"), array("train-family"))
    families = array("val-query_family"), array("val-passage_family")
    return data, RetrievalSet(tokens("val-queries"), tokens("val-passages"), *families)


def _arrays(data: TripletData | RetrievalSet) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, value in vars(data).items():
        if isinstance(value, Tokens):
            found |= {f"{name}-ids": value.ids, f"{name}-offsets": value.offsets}
        else:
            found[name] = value
    return found


def _shares_main_group(codes: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    """(n,) bool: patents with a code of a main group that one of ``rows`` has."""
    codes = codes.combine_chunks()
    owner = pc.list_parent_indices(codes).to_numpy()
    group = pc.replace_substring_regex(codes.flatten(), "/.*", "").dictionary_encode().indices.to_numpy()
    asked = np.zeros(len(codes), bool)
    asked[rows] = True
    shared = np.zeros(len(codes), bool)
    shared[owner[np.isin(group, group[asked[owner]])]] = True
    return shared


def _families(splits: pa.Table) -> np.ndarray:
    """(n,) number of each patent's family."""
    family: np.ndarray = pc.dictionary_encode(splits["family"].combine_chunks()).indices.to_numpy().astype(np.int64)
    return family


def validation_ndcg(encoder: Encoder, data: RetrievalSet, k: int = 10) -> float:
    """Mean nDCG@k of the encoder as it is. In a process group every rank encodes a share and all get the value."""
    tokens = Tokens.concat([data.queries, data.passages])
    shares = distributed.split_by_weight(tokens.lengths, distributed.world_size())
    mine = shares[distributed.rank()]
    rows = np.arange(mine.start, mine.stop)
    share = torch.from_numpy(encoder.encode(tokens.take(rows)) if len(rows) else np.empty((0, encoder.dim), np.float32))
    sizes = [part.stop - part.start for part in shares]
    # NCCL moves device tensors only.
    embeddings = distributed.gather_rows(share.to(next(encoder.model.parameters()).device), sizes).cpu().numpy()
    queries, passages = embeddings[: len(data.queries)], embeddings[len(data.queries) :]
    _, ranked = exact_search(queries, passages, k)
    relevant = metrics.group_sizes(data.query_family, data.passage_family)
    return float(metrics.ndcg(metrics.hits(ranked, data.query_family, data.passage_family), relevant, k).mean())


def _take(column: pa.ChunkedArray, rows: np.ndarray) -> list[str]:
    texts: list[str] = column.take(pa.array(rows)).to_pylist()
    return texts
