"""What search needs besides a run's vectors, made once from its corpus and kept as artifacts beside its steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from patent_embed.arrays import matrix_of
from patent_embed.artifacts import Artifact, ArtifactStore, Outcome, Step
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.serving.corpus import Corpus, write_corpus

INDEX, VECTORS = "search-index", "search-vectors"  # names of the artifacts
_VERSION = 1
_BM25 = "bm25"


def index_step(corpus: Artifact) -> Step:
    """What names the index of a corpus."""
    return Step(INDEX, _VERSION, {}, {"corpus": corpus.digest})


def search_index(store: ArtifactStore, corpus: Artifact) -> Artifact:
    """The records, columns and words of a corpus (an artifact with the table ``corpus``), made where they are not."""

    def work(folder: Path) -> Outcome:
        patents = write_corpus(folder, corpus.groups("corpus"))
        abstracts = (text for group in corpus.groups("corpus", "abstract") for text in group["abstract"].to_pylist())
        Bm25Index.build(abstracts).save(folder / _BM25)
        return Outcome(rows={"patents": patents})

    step = index_step(corpus)
    return store.find(step) or store.run(step, work)


def open_index(index: Artifact) -> tuple[Corpus, Bm25Index]:
    """What ``search_index`` made, memory-mapped."""
    folder = index.file("")
    return Corpus(folder), Bm25Index.load(folder / _BM25)


def vector_matrix(store: ArtifactStore, embeddings: Artifact, rows: int, folder_name: str) -> Artifact:
    """``passages.npy`` of the files of embeddings that ``patent-embed encode`` wrote into ``folder_name``, in order."""

    def work(folder: Path) -> Outcome:
        matrix, at = None, 0
        for part in embeddings.parts(folder_name):
            vectors = matrix_of(pq.read_table(part, columns=["embedding"])["embedding"].combine_chunks())
            if matrix is None:
                shape = (rows, vectors.shape[1])
                matrix = np.lib.format.open_memmap(folder / "passages.npy", "w+", np.float32, shape)
            matrix[at : at + len(vectors)] = vectors
            at += len(vectors)
        if matrix is None or at != rows:
            raise RuntimeError(f"{rows} texts have {at} embeddings")
        matrix.flush()
        return Outcome(rows={"passages": rows})

    step = Step(VECTORS, _VERSION, {}, {"embeddings": embeddings.digest})
    return store.find(step) or store.run(step, work)
