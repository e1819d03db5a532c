"""The vectors of all texts, for evaluation and mining."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.model import ABSTRACT, ModelConfig
from patent_embed.config.settings import Config
from patent_embed.data.views import view_columns, viewed
from patent_embed.evaluation.forgetting import general_texts
from patent_embed.progress.clock import Stopwatch
from pipelines.embedders import embed_texts
from pipelines.engine import Context, Input, StepSpec
from pipelines.steps.tables import Tables

NAME = "embed"


def model_settings(config: Config) -> dict[str, object]:
    """What of the model's settings changes its vectors; its name does not, its digest says what it is."""
    found = config.model.model_dump(exclude={"name"})
    if found["passage_view"] == ABSTRACT:  # vectors keep the name that they had before there were other views
        del found["passage_view"]
    return found


def searched_as(config: Config, view: str) -> Config:
    """``config`` with another view of what is searched of a patent."""
    return config.model_copy(update={"model": config.model.model_copy(update={"passage_view": view})})


def as_searched(config: Config, of_run: Config) -> Config:
    """``config`` with what a run searches of a patent, unless it names another view."""
    asked = config.model.passage_view != ABSTRACT
    return config if asked else searched_as(config, of_run.model.passage_view)


def corpus_of(context: Context, config: ModelConfig, *columns: str) -> pa.Table:
    """``columns`` of the corpus, and as ``abstract`` what is searched of each patent."""
    return viewed(context.table("ingest", "corpus", *dict.fromkeys([*columns, *view_columns(config)])), config)


def embed_step(config: Config, name: str, model: Input, tables: Tables[Input]) -> StepSpec:
    """The vectors of the encoder ``model``: a ``LocalModel``, or the training that made it."""
    return StepSpec(
        name=f"{NAME}-{name}",
        version=2,
        settings=model_settings(config),
        inputs={"model": model, "ingest": tables.ingest, "queries": tables.queries},
        work=lambda context: embed(context, config.model),
        rate=vectors_rate,
        announced=True,
    )


def embed(context: Context, config: ModelConfig) -> Outcome:
    """The vectors of the corpus and of the queries, see ``write_vectors``."""
    passages, asked = corpus_of(context, config)["abstract"], context.table("queries")["query"]
    return write_vectors(context, config, passages, asked)


def write_vectors(
    context: Context,
    config: ModelConfig,
    passages: pa.ChunkedArray,
    asked: pa.ChunkedArray,
    prompts: Sequence[str] | None = None,
) -> Outcome:
    """Write ``passages.npy`` (rows as in ``passages``), ``queries.npy`` (rows as in ``asked``) and ``general.npy``
    (rows as in ``general_texts``), each (n, dim) float32.

    ``prompts``: the ``Kind`` whose prompt each query gets; None: all that of queries.
    """
    general = pa.array(general_texts())
    kinds = ["passage"] * (len(passages) + len(general)) + list(prompts or ["query"] * len(asked))
    texts = pa.table(
        {"text": pa.chunked_array([*passages.chunks, general, *asked.chunks]), "kind": pa.array(kinds, pa.string())}
    )
    watch = Stopwatch()
    embeddings = embed_texts(texts, context.model(), config, context.progress.emit)
    parts = np.split(embeddings, [len(passages), len(passages) + len(general)])
    for name, part in zip(("passages", "general", "queries"), parts, strict=True):
        np.save(context.folder / f"{name}.npy", part)
    return Outcome(
        rows={"passages": len(passages), "queries": len(asked)},
        report={"texts_per_s": round(len(texts) / watch.seconds, 1), "dim": int(embeddings.shape[1])},
    )


def vectors_rate(artifact: Artifact) -> str:
    """The rate of a step of vectors."""
    return f"{artifact.report['texts_per_s']:,.0f} texts/s"
