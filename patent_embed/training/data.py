"""From the artifacts' tables to what training reads: triplets over one token store, and the validation set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.arrays import Rows, Strings, matches, numbered, rows_of, shuffled_runs
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens
from patent_embed.negatives.parts import IdIndex
from patent_embed.queries.sources import mask_by_source
from patent_embed.training.judged import TrainingJudgements
from patent_embed.training.mixture import Mixture
from patent_embed.training.validation import RetrievalSet

# With this many queries of a model, adding those of rules made the tuned encoder worse (docs/quality.md).
ENOUGH_TO_TRAIN = 500


@dataclass(frozen=True)
class TripletRows:
    """What ``TripletData`` is before its texts are read: they are named by the rows of two tables.

    Attributes:
        queries: rows of the table of queries, ascending, whose texts come first.
        passages: rows of the corpus, ascending, whose texts come behind them.
        triplets, family: as in ``TripletData``.
    """

    queries: Rows
    passages: Rows
    triplets: np.ndarray
    family: np.ndarray


def build_triplets(
    encoder: Encoder,
    corpus: pa.Table,
    splits: pa.Table,
    queries: pa.Table,
    negatives: pa.Table,
    sources: Sequence[str] | None,
    *,
    mined: bool = True,
    judged: pa.Table | None = None,
) -> TripletData:
    """The triplets of ``triplet_rows``, with their texts from ``corpus`` (``abstract``) and ``queries`` (``query``)."""
    found = triplet_rows(splits, queries, [negatives] if mined else None, sources, judged=judged)
    asking = encoder.tokenize(Strings(queries["query"], found.queries), "query")
    passages = encoder.tokenize(Strings(corpus["abstract"], found.passages), "passage")
    return TripletData(Tokens.concat([asking, passages]), found.triplets, found.family)


def triplet_rows(
    splits: pa.Table,
    queries: pa.Table,
    negatives: Iterable[pa.Table] | None,
    sources: Sequence[str] | None,
    *,
    judged: pa.Table | None = None,
) -> TripletRows:
    """Triplets of the train split: each query with its patent's abstract and each of that patent's negatives.

    Args:
        splits: rows as in the corpus, sorted by id.
        queries: ``publication_number, source``, and where there are judgements also ``query``.
        negatives: ``publication_number, negative``, sorted by anchor, in parts of which one is held at a time. None: a
            query has one triplet, whose negative is the positive: a loss has what it finds in its batch.
        sources: limits the queries used; None: all but those of rules where at least ``ENOUGH_TO_TRAIN`` are left.
        judged: ``JUDGED``: what was judged not relevant becomes a negative of its query, what was judged relevant is
            none.
    """
    ids = splits["publication_number"]
    used_queries = training_query_rows(splits, queries, sources)
    chosen = queries.take(pa.array(used_queries))
    query_rows = rows_of(chosen["publication_number"], ids)
    if negatives is None:
        query, patents = np.arange(len(query_rows)), np.stack([query_rows, query_rows], axis=1)
    else:
        index = IdIndex.of(splits)
        if not index.ids.equals(ids.combine_chunks()):
            raise ValueError(
                "the splits are not sorted by publication number, so their rows are not those of the corpus"
            )
        query, patents = _with_negatives(query_rows, negatives, index)
    family = numbered(splits["family"])[0].astype(np.int64)
    if judged is not None:
        judgements = TrainingJudgements(judged, splits, chosen)
        family = judgements.family
        query, patents = judgements.applied(query, patents)
    used = np.zeros(len(ids), np.bool_)
    used[patents] = True
    place = np.cumsum(used) - 1 + len(query_rows)  # of a patent's passage among the texts
    passages = np.flatnonzero(used)
    return TripletRows(
        queries=used_queries,
        passages=passages,
        triplets=np.column_stack([query, place[patents]]),
        family=np.concatenate([family[query_rows], family[passages]]),
    )


def _with_negatives(query_rows: Rows, negatives: Iterable[pa.Table], index: IdIndex) -> tuple[Rows, Rows]:
    """Queries (m,), and the rows of their patents and negatives (m, 2)."""
    found = [np.zeros((2, 0), np.int32)]
    for part in negatives:  # by an index, which is made once, and not by a hash table of all ids for each part
        sides = [index.rows(part[side].combine_chunks()) for side in ("publication_number", "negative")]
        if any((side < 0).any() for side in sides):
            raise ValueError("the negatives are of patents that have no split: they are of another corpus")
        found.append(np.stack(sides))
    anchors, others = np.concatenate(found, axis=1)
    query, place = matches(query_rows, anchors)  # anchors ascend: the table is sorted by them
    return query, np.stack([query_rows[query], others[place]], axis=1)


def training_families(splits: pa.Table, queries: pa.Table, judged: pa.Table | None) -> Rows:
    """(patents,) the family of each patent as ``TripletData`` numbers it. ``queries``: those that are trained on."""
    if judged is not None:
        return TrainingJudgements(judged, splits, queries).family
    return numbered(splits["family"])[0].astype(np.int64)


def training_queries(splits: pa.Table, queries: pa.Table, sources: Sequence[str] | None) -> pa.Table:
    """The queries that a training reads, in their order. ``sources`` as in ``triplet_rows``."""
    return queries.take(pa.array(training_query_rows(splits, queries, sources)))


def training_query_rows(splits: pa.Table, queries: pa.Table, sources: Sequence[str] | None) -> Rows:
    """Their rows in ``queries``, ascending."""
    in_train = pc.equal(splits["split"], "train").to_numpy()
    rows = np.flatnonzero(in_train[rows_of(queries["publication_number"], splits["publication_number"])])
    keep = mask_by_source(
        queries["source"].take(pa.array(rows)),
        sources,
        enough=ENOUGH_TO_TRAIN,
        setting="training.query_sources",
        use="train on",
    )
    found: Rows = rows[keep]
    return found


def save_training_data(folder: Path, data: TripletData, val: RetrievalSet) -> None:
    """Write both into ``folder`` as plain arrays, one ``.npy`` file each. What is mapped from its file there stays."""
    folder.mkdir(exist_ok=True)
    arrays = {f"train-{name}": value for name, value in _arrays(data).items()}
    for name, value in (arrays | {f"val-{name}": value for name, value in _arrays(val).items()}).items():
        path = folder / f"{name}.npy"
        if not (isinstance(value, np.memmap) and Path(value.filename or "") == path):
            np.save(path, value, allow_pickle=False)


def load_training_data(folder: Path) -> tuple[TripletData, RetrievalSet]:
    """What ``save_training_data`` wrote; the arrays are mapped, not read."""

    def array(name: str) -> np.ndarray:
        found: np.ndarray = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        return found

    def tokens(name: str) -> Tokens:
        return Tokens(array(f"{name}-ids"), array(f"{name}-offsets"))

    def optional(name: str) -> np.ndarray | None:
        return array(name) if (folder / f"{name}.npy").exists() else None

    mixed = (optional(f"train-mixture-{field.name}") for field in fields(Mixture))
    mixture = Mixture(*given) if len(given := [each for each in mixed if each is not None]) else None
    data = TripletData(tokens("train-tokens"), array("train-triplets"), array("train-family"), mixture)
    families = array("val-query_family"), array("val-passage_family")
    return data, RetrievalSet(tokens("val-queries"), tokens("val-passages"), *families, optional("val-links"))


def _arrays(data: TripletData | RetrievalSet) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, value in vars(data).items():
        if isinstance(value, Tokens):
            found |= {f"{name}-ids": value.ids, f"{name}-offsets": value.offsets}
        elif isinstance(value, Mixture):
            found |= {f"{name}-{part}": array for part, array in vars(value).items()}
        elif value is not None:
            found[name] = value
    return found


@dataclass(frozen=True)
class TripletData:
    """Training triplets as rows of one token store.

    Attributes:
        tokens: all distinct texts, queries and passages.
        triplets: (m, 3) rows of ``tokens``: query, positive, negative; those of one query stand together.
        family: (len(tokens),) family of the patent each text belongs to.
        mixture: what several sources of relevance say of the triplets; None: they are of queries alone.
    """

    tokens: Tokens
    triplets: np.ndarray
    family: np.ndarray
    mixture: Mixture | None = None

    def batches(self, seed: int, epoch: int, size: int, most: int | None = None) -> list[np.ndarray]:
        """The triplets of an epoch, ``most`` of them, cut into those of each optimizer step: ``size`` or fewer, of one
        source each."""
        if self.mixture is not None:
            rng = np.random.default_rng([seed, epoch])
            return self.mixture.batches(self.triplets[:, 0], self.mixture.sizes(most), size, rng)
        order = self.epoch_order(seed, epoch)[:most]
        return [order[begin : begin + size] for begin in range(0, len(order), size)]

    def batch_count(self, size: int, most: int | None = None) -> int:
        """How many batches that are, the same in every epoch."""
        return sum(-(-each // size) for each in self._sizes(most))

    def epoch_size(self, most: int | None = None) -> int:
        """Triplets of an epoch, ``most`` of them."""
        return sum(self._sizes(most))

    def _sizes(self, most: int | None) -> list[int]:
        """The same, by source."""
        if self.mixture is not None:
            found: list[int] = self.mixture.sizes(most).tolist()
            return found
        return [min(len(self.triplets), most or len(self.triplets))]

    def epoch_order(self, seed: int, epoch: int) -> np.ndarray:
        """Triplet rows in the order of an epoch: queries shuffled, each with its triplets behind one another, so
        that a batch repeats few texts."""
        return shuffled_runs(self.triplets[:, 0], np.random.default_rng([seed, epoch]))
