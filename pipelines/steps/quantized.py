"""Embeddings in 8 bits or one bit a number, measured on a run's test queries before they are written."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.arrays import Vectors, matrix_of
from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.commands import Precision
from patent_embed.errors import UserError
from patent_embed.evaluation.quantized import QuantizedSystem, Quantizer, candidates
from patent_embed.evaluation.systems import EmbeddingSystem, System
from patent_embed.progress.clock import Stopwatch
from pipelines.engine import Context, Input, StepSpec
from pipelines.steps.embeddings import VECTORS

NAME = "quantized"
LARGEST_LOSS = 0.01  # of nDCG@10, relative: what loses more is refused
_SAMPLE = 10_000  # vectors, spread over the files, that the quantizer is made from
_TOP, _TURNS = 10, 3  # documents that a timed search wants, and how often it is timed

Measured = tuple[Vectors, Vectors, Callable[[System], float]]
"""The queries (q, dim) and documents (n, dim) of a run, and nDCG@10 of a system whose rows they are."""


def quantized_step(precision: Precision, embeddings: Input, run: Input, measured: Callable[[], Measured]) -> StepSpec:
    """The vectors of ``embeddings`` in few bits, where that keeps what a run measures.

    Args:
        run: what ``measured`` is of, for the name of the result.
        measured: opens it.
    """
    return StepSpec(
        name=f"{NAME}-{precision}",
        version=1,
        settings={"precision": precision},
        inputs={"embeddings": embeddings, "run": run},
        work=lambda context: _work(context, precision, measured()),
        constants={"LARGEST_LOSS": LARGEST_LOSS, "_SAMPLE": _SAMPLE},
        notes=_table,
        announced=True,
    )


def _work(context: Context, precision: Precision, measured: Measured) -> Outcome:
    embeddings = context.inputs["embeddings"]
    quantizer = Quantizer.of(precision, _sample(embeddings))
    report = _measure(quantizer, *measured)
    if report["relative_loss"] > LARGEST_LOSS:
        raise UserError(
            f"--quantize {precision} loses {report['relative_loss']:.2%} of nDCG@10 on the run's test queries "
            f"({report['float32']['ndcg@10']:.4f} to {report[precision]['ndcg@10']:.4f}), more than "
            f"{LARGEST_LOSS:.0%}; nothing of it was written; "
            + ("use --quantize int8, or the float32 vectors" if precision == "binary" else "use the float32 vectors")
        )
    (context.folder / VECTORS).mkdir()
    quantizer.write(context.folder)
    rows = 0
    for part in embeddings.parts(VECTORS):
        table = pq.read_table(part)
        pq.write_table(_quantized(quantizer, table), context.folder / VECTORS / part.name, compression="none")
        rows += len(table)
    return Outcome(rows={NAME: rows}, report=report)


def _sample(embeddings: Artifact) -> Vectors:
    """At most ``_SAMPLE`` vectors, as many of each file."""
    parts = embeddings.parts(VECTORS)
    each = max(1, _SAMPLE // max(1, len(parts)))
    spread = np.linspace(0, len(parts) - 1, min(len(parts), _SAMPLE)).astype(int)
    tables = (pq.read_table(parts[place], columns=["embedding"]) for place in np.unique(spread))
    return np.concatenate([_matrix(table)[:: max(1, len(table) // each)][:each] for table in tables])


def _matrix(table: pa.Table) -> Vectors:
    return matrix_of(table["embedding"].combine_chunks())


def _quantized(quantizer: Quantizer, table: pa.Table) -> pa.Table:
    """The table with its vectors in few bits: ``embedding`` is searched; behind bits, ``int8`` rescores."""
    found = quantizer(_matrix(table))
    columns = {"embedding": found.searched} | ({} if found.bits is None else {"int8": found.int8})
    table = table.drop_columns("embedding")
    for name, values in columns.items():
        table = table.append_column(name, pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1]))
    return table


def _measure(
    quantizer: Quantizer, queries: Vectors, documents: Vectors, ndcg: Callable[[System], float]
) -> dict[str, Any]:
    """Bytes, nDCG@10 and seconds of a search, of float32 and of few bits, side by side."""
    few, everything = quantizer(documents), np.arange(len(queries))
    system = QuantizedSystem(quantizer, queries, few)
    searches: dict[str, Callable[[], object]] = {
        "float32": lambda: candidates(queries, documents, min(_TOP, len(documents))),
        quantizer.precision: lambda: system.search(everything, _TOP),
    }
    seconds: dict[str, list[float]] = {name: [] for name in searches}
    for _ in range(_TURNS):
        for name, search in searches.items():
            watch = Stopwatch()
            search()
            seconds[name].append(watch.seconds)
    found = {"float32": ndcg(EmbeddingSystem(queries, documents)), quantizer.precision: ndcg(system)}
    sizes = {"float32": (documents.nbytes,) * 2, quantizer.precision: (few.searched.nbytes, few.nbytes)}
    figures = {
        name: {
            "searched_bytes": sizes[name][0],
            "bytes": sizes[name][1],
            "ndcg@10": found[name],
            "ms_a_query": 1000 * statistics.median(seconds[name]) / max(1, len(queries)),
        }
        for name in searches
    }
    before, after = found.values()
    loss = (before - after) / before if before else 0.0
    return figures | {"relative_loss": loss, "queries": len(queries), "documents": len(documents)}


def _table(artifact: Artifact) -> list[str]:
    report = artifact.report
    lines = [f"on {report['queries']:,} test queries and {report['documents']:,} passages, of which 10 are found:"]
    for name in ("float32", artifact.manifest.step.partition("-")[2]):
        each = report[name]
        lines.append(
            f"{name:8} nDCG@10 {each['ndcg@10']:.4f}, {each['searched_bytes'] / 1e6:.2f} MB searched of "
            f"{each['bytes'] / 1e6:.2f}, {each['ms_a_query']:.3f} ms a query"
        )
    return lines
