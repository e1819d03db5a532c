"""Vectors in 8 bits or one bit a number, and the search in them: many candidates by small numbers, the best rescored.

The vectors of an encoder lie in a cone, so the mean vector is taken off first. What shifts all scores of a query ranks
nothing: ``q d = q mean + q (d - mean)``. int8 holds each number of ``d - mean`` in one of 256 steps of one range, the
same for all numbers, so that inner products of small numbers order documents nearly as those of the vectors do. binary
holds its sign, and int8 beside it. Candidates come by inner products of int8, or by the bits that differ (the exact
search of USearch); the query itself, in float32, and the documents' int8 give their scores.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Rows, Vectors
from patent_embed.config.commands import Precision

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
CANDIDATES: dict[Precision, int] = {"int8": 4, "binary": 10}  # for each document that is wanted
_STEPS = 255  # between the ends of int8's range
_FILE = "quantizer.json"


@dataclass(frozen=True)
class Quantized:
    """Vectors of documents in few bits.

    Attributes:
        int8: (n, dim).
        bits: (n, dim / 8, rounded up) uint8, eight signs each, the first in the highest bit; None where int8 is
            searched.
    """

    int8: NDArray[np.int8]
    bits: NDArray[np.uint8] | None = None

    @property
    def searched(self) -> NDArray[np.int8] | NDArray[np.uint8]:
        """What a search reads of all documents."""
        return self.int8 if self.bits is None else self.bits

    @property
    def nbytes(self) -> int:
        """Of all."""
        return self.int8.nbytes + (0 if self.bits is None else self.bits.nbytes)


@dataclass(frozen=True)
class Quantizer:
    """How vectors become few bits, by what some of them are like.

    Attributes:
        largest: int8's range is from ``-largest`` to ``largest``; what lies outside is moved to its ends.
        mean: (dim,) float32, of the vectors.
    """

    precision: Precision
    largest: float
    mean: Vectors

    @classmethod
    def of(cls, precision: Precision, sample: Vectors) -> Quantizer:
        """By a ``sample`` (n, dim) of the vectors."""
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(precision, float(np.abs(sample - mean).max()) or 1.0, mean)

    def __call__(self, vectors: Vectors) -> Quantized:
        """Vectors (n, dim) of documents in few bits."""
        centred = vectors - self.mean
        return Quantized(_int8(centred, self.largest), _bits(centred) if self.precision == "binary" else None)

    def asked(self, queries: Vectors) -> NDArray[np.int8] | NDArray[np.uint8]:
        """What is searched for: queries (q, dim) in as few bits. The range of int8 is that of all of them."""
        if self.precision == "binary":
            return _bits(queries - self.mean)
        return _int8(queries, float(np.abs(queries).max(initial=0)) or 1.0)

    def restored(self, int8: NDArray[np.int8]) -> Vectors:
        """The vectors that the middles of the steps stand for, (…, dim) float32."""
        middles = (int8.astype(np.float32) + 128.5) * (2 * self.largest / _STEPS) - self.largest
        return (middles + self.mean).astype(np.float32)

    def write(self, folder: Path) -> None:
        """Write it for whoever searches: queries take the same range and mean."""
        about = {"schema_version": 1, "precision": self.precision, "largest": self.largest, "mean": self.mean.tolist()}
        (folder / _FILE).write_text(json.dumps(about), encoding="utf-8")


class QuantizedSystem:
    """Search in quantized documents, as ``evaluate`` measures it. Needs USearch.

    Args:
        queries: (q, dim) float32.
        documents: what ``quantizer`` made of (n, dim).
    """

    scale = "cosine"

    def __init__(self, quantizer: Quantizer, queries: Vectors, documents: Quantized) -> None:
        self._quantizer, self._queries, self._documents = quantizer, queries, documents
        self._asked = quantizer.asked(queries)

    def search(self, queries: Rows, k: int) -> tuple[Vectors, Rows]:
        """Scores and rows (len(queries), <= k) of the best documents by (-score, row)."""
        quantizer, int8 = self._quantizer, self._documents.int8
        several = min(k * CANDIDATES[quantizer.precision], len(int8))
        rows = candidates(self._asked[queries], self._documents.searched, several)
        scores = np.einsum("qd,qkd->qk", self._queries[queries], quantizer.restored(int8[rows]))
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)

    def pairs(self, queries: Rows, passages: Rows) -> Vectors:
        """Scores (m,) of the pairs ``queries`` (m,) and ``passages`` (m,)."""
        found = self._quantizer.restored(self._documents.int8[passages])
        return np.asarray((self._queries[queries] * found).sum(axis=1), np.float32)


def candidates(queries: NDArray[np.generic], documents: NDArray[np.generic], k: int) -> Rows:
    """The k nearest documents of each query: (q, k), by inner products, or, of uint8, by the bits that differ."""
    from usearch.compiled import MetricKind
    from usearch.index import search

    kinds = {"int8": (MetricKind.IP, "i8"), "uint8": (MetricKind.Hamming, "b1"), "float32": (MetricKind.IP, "f32")}
    metric, dtype = kinds[documents.dtype.name]
    found = search(documents, queries, k, metric, exact=True, dtype=dtype)
    return np.asarray(found.keys, np.int64).reshape(len(queries), -1)


def _int8(vectors: Vectors, largest: float) -> NDArray[np.int8]:
    from sentence_transformers.util.quantization import quantize_embeddings

    ranges = np.array([[-largest], [largest]], np.float32) * np.ones((2, vectors.shape[1]), np.float32)
    return cast(NDArray[np.int8], quantize_embeddings(vectors, "int8", ranges=ranges))


def _bits(vectors: Vectors) -> NDArray[np.uint8]:
    from sentence_transformers.util.quantization import quantize_embeddings

    return cast(NDArray[np.uint8], quantize_embeddings(vectors, "ubinary"))
