"""The vectors of all texts, for evaluation and mining."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from patent_embed.arrays import Rows, Vectors
from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.model import ABSTRACT, ModelConfig
from patent_embed.config.settings import Config
from patent_embed.data.views import view_columns, viewed
from patent_embed.evaluation.forgetting import general_texts
from patent_embed.evaluation.pooling import PatentVectors
from patent_embed.progress.clock import Stopwatch
from pipelines.engine import Context, Input, StepSpec
from pipelines.known_vectors import find_known, taken_notes
from pipelines.steps.tables import Tables
from pipelines.tasks import Workplace
from pipelines.vector_files import CorpusPassages, VectorFiles

NAME = "embed"
PASSAGES, OWNERS = "passages.npy", "owners.npy"


def model_settings(config: Config) -> dict[str, object]:
    """What of the model's settings changes its vectors; its name does not, its digest says what it is."""
    found = config.model.model_dump(exclude={"name"})
    # Vectors keep the name that they had before there were other views, and several passages.
    if found["passage_view"] == ABSTRACT:
        del found["passage_view"]
    if found["passages_per_patent"] == 1:
        del found["passages_per_patent"]
    return found


def searched_as(config: Config, **settings: object) -> Config:
    """``config`` with other settings of what is searched of a patent."""
    return config.model_copy(update={"model": config.model.model_copy(update=settings)})


def as_searched(config: Config, of_run: Config) -> Config:
    """``config`` with what a run searches of a patent, unless it names another view, or another number of passages."""
    asked, run = config.model, of_run.model
    view = run.passage_view if asked.passage_view == ABSTRACT else asked.passage_view
    passages = run.passages_per_patent if asked.passages_per_patent == 1 else asked.passages_per_patent
    if (view, passages) == (asked.passage_view, asked.passages_per_patent):
        return config
    return searched_as(config, passage_view=view, passages_per_patent=passages)


def corpus_of(context: Context, config: ModelConfig, *columns: str) -> pa.Table:
    """``columns`` of the corpus, and as ``abstract`` what is searched of each patent."""
    return viewed(context.table("ingest", "corpus", *dict.fromkeys([*columns, *view_columns(config)])), config)


def groups_of_corpus(here: Workplace, config: ModelConfig) -> Iterator[pa.Table]:
    """The same as ``corpus_of``, a row group at a time."""
    for group in here.inputs["ingest"].groups("corpus", *view_columns(config)):
        yield viewed(group, config)


def texts_of_corpus(here: Workplace, config: ModelConfig, rows: Rows) -> list[str]:
    """What is searched of the patents in some ``rows`` of the corpus, ascending."""
    found, first = list[str](), 0
    for group in groups_of_corpus(here, config):
        begin, end = np.searchsorted(rows, [first, first + len(group)]).tolist()
        found += group["abstract"].take(pa.array(rows[begin:end] - first)).to_pylist()
        first += len(group)
    return found


def embed_step(config: Config, name: str, model: Input, tables: Tables[Input]) -> StepSpec:
    """The vectors of the encoder ``model``: a ``LocalModel``, or the training that made it."""
    return StepSpec(
        name=f"{NAME}-{name}",
        version=4,
        settings=model_settings(config),
        inputs={"model": model, "ingest": tables.ingest, "queries": tables.queries},
        work=lambda context: embed(context, config),
        notes=taken_notes,
        rate=vectors_rate,
        announced=True,
    )


def embed(context: Context, config: Config) -> Outcome:
    """The vectors of the corpus and of the queries, see ``write_vectors``."""
    model, asked = config.model, context.table("queries", "queries", "query")["query"]
    if model.passages_per_patent > 1:
        return write_vectors(context, model, corpus_of(context, model)["abstract"], asked)
    known = find_known(context, "ingest") if config.run.use_cache else None
    return write_vectors(context, model, CorpusPassages(context.inputs["ingest"], known), asked)


def write_vectors(
    context: Context,
    config: ModelConfig,
    passages: pa.ChunkedArray | CorpusPassages,
    asked: pa.ChunkedArray,
    prompts: list[str] | None = None,
) -> Outcome:
    """Write ``passages.npy`` (rows as in ``passages``), ``queries.npy`` (rows as in ``asked``) and ``general.npy``
    (rows as in ``general_texts``), each (n, dim) float32; with several passages a patent also ``owners.npy``, the row
    in ``passages`` that each row of ``passages.npy`` is of (``patent_vectors``).

    Args:
        passages: texts, or those of a corpus, which workers read by themselves.
        prompts: the ``Kind`` whose prompt each query gets; None: all that of queries.
    """
    files, several = VectorFiles(context, config), dict[str, int]()
    if isinstance(passages, CorpusPassages):
        files.add_corpus("passages", passages)
    else:
        if config.passages_per_patent > 1:
            several = {"patents": len(passages)}
            passages, owner = _cut(context, config, passages)
            np.save(context.folder / OWNERS, owner)
        files.add("passages", passages, "passage")
    files.add("general", pa.chunked_array([general_texts()]), "passage")
    files.add("queries", asked, prompts or "query")
    watch = Stopwatch()
    dim = files.write()
    counts = files.counts
    if several.get("patents") == counts["passages"]:
        several = {}
    return Outcome(
        rows={"passages": counts["passages"], "queries": counts["queries"]} | several,
        report={"texts_per_s": round(sum(counts.values()) / watch.seconds, 1), "dim": dim} | files.taken(),
    )


def _cut(context: Context, config: ModelConfig, texts: pa.ChunkedArray) -> tuple[pa.ChunkedArray, Rows]:
    """The passages of ``texts``, and the row that each is of."""
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.encoder.passages import cut_into_passages

    encoder = Encoder.load(context.model().folder(), config)  # for its tokenizer
    found = cut_into_passages(encoder, texts.to_pylist(), config.passages_per_patent)
    return pa.chunked_array([pa.array(found.texts, pa.string())]), found.owner


def patent_vectors(vectors: Artifact) -> PatentVectors:
    """The passages' vectors of a step that wrote them by ``write_vectors``, memory-mapped."""
    owner = np.load(vectors.file(OWNERS)) if OWNERS in vectors.manifest.files else None
    return PatentVectors(np.load(vectors.file(PASSAGES), mmap_mode="r"), owner)


def query_vectors(vectors: Artifact) -> Vectors:
    """The queries' vectors of such a step, (queries, dim), memory-mapped: most are of patents that are trained on."""
    found: Vectors = np.load(vectors.file("queries.npy"), mmap_mode="r")
    return found


def vectors_rate(artifact: Artifact) -> str:
    """The rate of a step of vectors."""
    return f"{artifact.report['texts_per_s']:,.0f} texts/s"
