"""Queries of a finished run and documents to search for them: what a model is measured on after the run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from patent_embed.arrays import Vectors
from patent_embed.data.views import view_columns, viewed
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import Encode
from patent_embed.errors import UserError
from patent_embed.evaluation.measure import HEADLINE, evaluate, headline_mask
from patent_embed.evaluation.systems import EmbeddingSystem, System
from patent_embed.hashing import folder_digest, hash64
from pipelines.recipe import TUNED
from pipelines.run_folder import FinishedRun
from pipelines.steps import embed
from pipelines.steps.train import MODEL

_ROW = "row"


class Encoded(NamedTuple):
    """Embeddings of the queries (q, dim) and documents (n, dim), float32."""

    queries: Vectors
    documents: Vectors


class MeasuredTexts:
    """Queries of the ``splits`` of a run and the documents that they are searched in.

    Args:
        max_documents: at most this many documents, those that are relevant first; and no more queries.

    Attributes:
        queries, documents: the texts.
        query_rows, document_rows: their rows in the tables of the run, and in the vectors of its steps.
        corpus: how many documents the run has.
        is_train: (n,) bool, which documents the run trained on.

    Raises:
        UserError: the run has no query in ``splits``.
    """

    def __init__(self, run: FinishedRun, max_documents: int, splits: Sequence[str] = ("test",)) -> None:
        config, tables = run.config, run.tables
        patents, asked = tables.splits.table("splits"), tables.queries.table("queries")
        asked = asked.append_column(_ROW, pa.array(np.arange(len(asked))))
        held_out = patents.filter(pc.is_in(patents["split"], value_set=pa.array(splits)))
        asked = asked.filter(pc.is_in(asked["publication_number"], value_set=held_out["publication_number"]))
        self._sources, self.corpus = config.evaluation.query_sources, len(patents)
        asked = asked.filter(pa.array(headline_mask(asked["source"], self._sources)))
        if not len(asked):
            shares = " and ".join(f"splits.{name}" for name in splits)
            raise UserError(
                f"the run has no {' or '.join(splits)} queries, so nothing could be measured; give {shares} a share"
            )
        asked = asked.take(_lowest(asked["publication_number"], max_documents, config.run.seed))
        self._asked, self.query_rows = asked.drop_columns(_ROW), asked[_ROW].to_numpy()
        families = held_out.filter(
            pc.is_in(held_out["publication_number"], value_set=self._asked["publication_number"])
        )
        relevant = pc.is_in(patents["family"], value_set=families["family"]).to_numpy(zero_copy_only=False)
        others = np.flatnonzero(~relevant)
        ids = patents["publication_number"].take(pa.array(others))
        room = max(0, max_documents - int(relevant.sum()))
        rows = np.sort(np.concatenate([np.flatnonzero(relevant), others[_lowest(ids, room, config.run.seed)]]))
        self._patents, self.document_rows = patents.take(pa.array(rows)), rows
        self.queries: list[str] = self._asked["query"].to_pylist()
        corpus = viewed(tables.ingest.table("corpus", *view_columns(config.model)), config.model)
        abstracts = corpus["abstract"]
        self.documents: list[str] = abstracts.take(pa.array(rows)).to_pylist()
        self.is_train = pc.equal(self._patents["split"], "train").to_numpy(zero_copy_only=False)
        self._no_negatives = tables.negatives.table("negatives").slice(0, 0)

    def vectors(self, run: FinishedRun, model: Path) -> Encoded:
        """The vectors of the model in the folder ``model``: those that ``run`` was measured with, where it is the run's
        own. Those of another, or where patents have several, are made now."""
        step = run.steps.get(f"{embed.NAME}-{TUNED}")
        own = run.published.get(MODEL) == folder_digest(model)
        if step is None or not own or run.config.model.passages_per_patent > 1:
            encoder = Encoder.load(model, device="cuda" if torch.cuda.is_available() else "cpu")
            return self.encoded(lambda rows, kind: encoder.encode(rows, kind))
        queries, passages = np.load(step.file("queries.npy"), mmap_mode="r"), embed.patent_vectors(step).vectors
        return Encoded(
            *(
                np.ascontiguousarray(each, np.float32)
                for each in (queries[self.query_rows], passages[self.document_rows])
            )
        )

    def encoded(self, encode: Encode) -> Encoded:
        """Embeddings of all texts. What a narrow type overflows to counts as zeros, which are found by chance."""
        vectors = (encode(self.queries, "query"), encode(self.documents, "passage"))
        return Encoded(*(np.nan_to_num(each, posinf=0, neginf=0) for each in vectors))

    def ndcg(self, queries: Vectors, documents: Vectors, split: str = "test") -> float:
        """nDCG@10 of the queries of ``split`` by the cosines of embeddings of length 1."""
        return self.ndcg_of(EmbeddingSystem(queries, documents), split)

    def ndcg_of(self, system: System, split: str = "test") -> float:
        """nDCG@10 of the queries of ``split`` by a system whose rows are those of the texts."""
        result = evaluate("", system, self._asked, self._patents, self._no_negatives, self._sources)
        ndcg: float = result.summary(split)["metrics"][HEADLINE]
        return ndcg


def _lowest(ids: pa.ChunkedArray, count: int, seed: int) -> np.ndarray:
    """Rows, in order, of the ``count`` ids with the lowest hashes: all where there are no more."""
    if len(ids) <= count:
        return np.arange(len(ids))
    hashes = np.array([hash64(name, seed, "export") for name in ids.to_pylist()], np.uint64)
    return np.sort(np.argsort(hashes, kind="stable")[:count])
