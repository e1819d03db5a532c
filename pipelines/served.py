"""What search needs of a run, as plain data that any process opens by itself; light to import, as each shard does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from patent_embed.arrays import Vectors
from patent_embed.artifacts import Artifact, ModelRef, open_artifact
from patent_embed.config.settings import Config
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.serving.corpus import Corpus
from patent_embed.serving.encoding import BatchedEncoder, TextEncoder
from patent_embed.serving.engine import Engine, Model
from patent_embed.serving.facts import RunFacts
from patent_embed.serving.index import open_index
from patent_embed.serving.vectors import VectorMatrix, VectorSearch

PASSAGES = "passages.npy"


@dataclass(frozen=True)
class ServedModel:
    """A model of the run: where it is, the artifact whose ``PASSAGES`` are the corpus by it, and check queries."""

    model: ModelRef
    vectors: Artifact
    checks: list[tuple[str, Vectors]]

    def matrix(self) -> Vectors:
        """(patents, dim) float32, memory-mapped."""
        vectors = open_artifact(self.vectors.address)
        matrix: Vectors = np.load(vectors.file(PASSAGES), mmap_mode="r")
        return matrix


@dataclass(frozen=True)
class ServedRun:
    """All that search needs, made and found: plain data, which another machine opens by itself."""

    config: Config
    index: Artifact
    models: dict[str, ServedModel]
    facts: RunFacts

    def engine(
        self,
        encoder: Callable[[str], TextEncoder] | None = None,
        search: Callable[[str, Corpus, Vectors], VectorSearch] | None = None,
    ) -> Engine:
        """The engine, with the models in this process unless told otherwise.

        Args:
            encoder: of the model with a name; None: loaded here.
            search: of the model with a name; None: here, in the memory-mapped vectors.
        """
        corpus, words = self.open_index()
        models = {}
        for name, served in self.models.items():
            matrix = served.matrix()
            models[name] = Model(
                encoder(name) if encoder else self.encoder(name),
                search(name, corpus, matrix) if search else VectorMatrix(corpus, matrix, name, halves=True),
                matrix,
                served.vectors.digest,
                served.checks,
            )
        return Engine(corpus, words, models, self.facts)

    def encoder(self, name: str) -> BatchedEncoder:
        """The encoder of a model, on this machine's GPU where there is one."""
        import torch

        from patent_embed.encoder.encoder import Encoder

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return BatchedEncoder(Encoder.load(self.models[name].model.folder(), self.config.model, device=device), name)

    def open_index(self) -> tuple[Corpus, Bm25Index]:
        """The corpus and its words, without the models."""
        return open_index(open_artifact(self.index.address))
