"""What search needs of a finished run, or of another corpus with its models: found, and made where it is missing."""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from patent_embed.artifacts import Artifact, ModelRef
from patent_embed.config.commands import EncodeArguments
from patent_embed.data.inputs import find_input
from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from patent_embed.progress.terminal import note, say
from patent_embed.run_lock import Held, Owner, RunLock
from patent_embed.serving.facts import RunFacts, run_facts
from patent_embed.serving.index import index_step, search_index, vector_matrix
from pipelines.engine import LocalModel, Output, StepSpec
from pipelines.job import execute
from pipelines.recipe import BASE, TUNED
from pipelines.run_folder import SUMMARY, FinishedRun, open_run
from pipelines.served import ServedModel, ServedRun
from pipelines.steps import embed
from pipelines.steps.embeddings import VECTORS, embeddings_step
from pipelines.steps.texts import texts_step
from pipelines.steps.train import MODEL

log = logging.getLogger("patent_embed")
MAKING = "serve.lock"  # of the server that makes what is missing
_ASKS_EVERY_S = 0.5
_CHECKS = 8  # queries of the run, spread over it


@dataclass(frozen=True)
class Embedded:
    """A corpus with its vectors by a run's models, the tuned one first."""

    run: FinishedRun
    output: Output
    corpus: Artifact
    models: dict[str, ServedModel]


def served_run(output_dir: str, data_dir: str | None = None) -> ServedRun:
    """Find what search needs in the output folder of a run; make there, once, what is missing. See ``embedded``."""
    with embedded(output_dir, data_dir) as found:
        store, corpus = found.output.store, found.corpus
        index = store.find(index_step(corpus))
        if index is None:
            with _alone(found.output.folder):
                index = search_index(store, corpus)
        return ServedRun(found.run.config, index, found.models, _facts(output_dir))


@contextlib.contextmanager
def embedded(output_dir: str, data_dir: str | None = None) -> Iterator[Embedded]:
    """A corpus and its vectors, which are made in the output folder where they are missing.

    Args:
        output_dir: of a finished run.
        data_dir: another corpus, which the run's models embed into the same folder; None: that of the run.

    Raises:
        UserError: no run has finished there, it has several passages a patent, its model is not there any more, or
            another command works in the folder where another corpus is to be embedded.
    """
    run = open_run(output_dir)
    if run is None:
        raise UserError(
            f"{output_dir!r} holds no finished run, so there are no vectors to search; name the output folder of one"
        )
    if (several := run.config.model.passages_per_patent) > 1:
        raise UserError(
            f"the run in {output_dir!r} has up to {several} vectors a patent (model.passages_per_patent), and search "
            "servers and stores hold one, so patents would be found wrongly; use a run with "
            "model.passages_per_patent=1, or take the vectors of `patent-embed encode` into a store of your own"
        )
    with contextlib.closing(Output(folder_at(output_dir))) as output:
        corpus = run.tables.ingest
        with contextlib.nullcontext() if data_dir is None else _alone(output.folder):
            found = dict(_models(run, output))
            if not found:
                raise UserError(f"no model of the run in {output_dir!r} is there any more, so no query can be embedded")
            if data_dir is not None:
                corpus, found = _other_corpus(run, output, found, data_dir)
        yield Embedded(run, output, corpus, found)


@contextlib.contextmanager
def _alone(place: Folder) -> Iterator[None]:
    """Make what is missing for search in ``place`` while no other server does; waits for one that does. Beside a run,
    which has a lock of its own."""
    waits = False
    while True:
        try:
            lock = RunLock(place, "serve", _lost, name=MAKING)
            break
        except Held as held:
            if not waits:
                say(f"waiting for {held.owner}, which makes what search needs")
            waits = True
        time.sleep(_ASKS_EVERY_S)
    with lock:
        yield


def _lost(holder: Owner | None) -> None:
    log.warning("another server makes the same index: the lock is with %s", holder or "nobody that is known")


def _models(run: FinishedRun, output: Output) -> Iterator[tuple[str, ServedModel]]:
    """The tuned model first: it is the one that is fused with BM25."""
    for name in (TUNED, BASE):
        vectors = run.steps.get(f"{embed.NAME}-{name}")
        if vectors is None:
            continue
        digest = vectors.manifest.inputs["model"]
        model = _model(run, output, name, digest)
        if model is None:
            note(f"the {name} model is left out: what made its vectors is not there any more")
            continue
        asked = run.tables.queries.table("queries", "query")["query"]
        known = np.load(vectors.file("queries.npy"), mmap_mode="r")
        chosen = range(0, len(asked), max(1, len(asked) // _CHECKS))[:_CHECKS]
        checks = [(asked[row].as_py(), np.asarray(known[row])) for row in chosen]
        yield name, ServedModel(model, vectors, checks)


def _model(run: FinishedRun, output: Output, name: str, digest: str) -> ModelRef | None:
    """The model that made vectors: that of a training, or a folder with the same content."""
    for step in run.steps.values():
        if step.digest == digest:
            return ModelRef(step.address, MODEL)
    if (shared := output.shared(digest)) is not None:
        return shared
    try:
        folder = (
            output.folder.fetch_all(output.here / MODEL, MODEL)
            if name == TUNED
            else resolve_model(run.config.model.name, trust_remote_code=run.config.model.trust_remote_code).resolve()
        )
    except UserError:
        return None
    found = LocalModel(folder)
    return output.share(found) if folder.is_dir() and found.digest == digest else None


def _other_corpus(
    run: FinishedRun, output: Output, models: dict[str, ServedModel], data_dir: str
) -> tuple[Artifact, dict[str, ServedModel]]:
    """Read and embed another corpus by the steps of ``patent-embed encode``, with all that a page shows.

    Raises:
        Held: something is to be made, and another command works in the output folder.
    """
    config = run.config.model_copy(deep=True)
    config.data.data_dir, config.run.output_dir, config.data.max_samples = data_dir, output.folder.address, None
    texts = texts_step(config, EncodeArguments(), find_input(data_dir), whole_records=True)
    steps = {
        name: embeddings_step(config, texts, LocalModel(model.model.folder()), "passage")
        for name, model in models.items()
    }
    with contextlib.ExitStack() as held:

        def lock(todo: Sequence[StepSpec]) -> None:
            """These are steps of `patent-embed encode`, too, which has the run's lock while it makes them."""
            if todo:
                held.enter_context(RunLock(output.folder, "serve --data_dir"))

        done = execute(config, output, [texts, *steps.values()], lock)
    rows = done[texts].manifest.rows["texts"]
    found = {}
    for name, model in models.items():
        matrix = vector_matrix(output.store, done[steps[name]], rows, VECTORS)
        found[name] = ServedModel(model.model, matrix, model.checks)
    return done[texts], found


def _facts(output_dir: str) -> RunFacts:
    place = folder_at(output_dir)
    metrics, summary = (_json(place.read(name)) for name in ("metrics.json", SUMMARY))
    return run_facts(metrics, summary)


def _json(content: bytes | None) -> dict[str, Any]:
    return dict(json.loads(content)) if content else {}
