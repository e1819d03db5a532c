"""A corpus to embeddings: two steps of their own in the output folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from patent_embed.config.commands import EncodeArguments, Precision
from patent_embed.config.model import ABSTRACT
from patent_embed.config.settings import Config
from patent_embed.data.inputs import find_input
from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.terminal import note, say
from pipelines.engine import LocalModel, StepSpec
from pipelines.job import execute
from pipelines.measured_texts import MeasuredTexts
from pipelines.output_folder import working_in
from pipelines.preflight import before_models
from pipelines.run_folder import open_run
from pipelines.steps.embed import searched_as
from pipelines.steps.embeddings import NAME, VECTORS, embeddings_step
from pipelines.steps.quantized import Measured, quantized_step
from pipelines.steps.texts import texts_step

_MOST_DOCUMENTS = 20_000  # that are searched to measure what few bits lose


def run(config: Config, arguments: EncodeArguments) -> None:
    """Embed the texts of ``data.data_dir`` by ``model.name``, and say where the vectors lie."""
    watch = Stopwatch()
    before_models([config.model.name])
    if arguments.text_column is not None:  # a text is embedded as it is
        config = searched_as(config, passage_view=ABSTRACT)
    whole = config.model.passage_view != ABSTRACT
    texts = texts_step(config, arguments, find_input(config.data.data_dir), whole_records=whole)
    model = resolve_model(config.model.name, trust_remote_code=config.model.trust_remote_code).resolve()
    embeddings = embeddings_step(config, texts, LocalModel(model), arguments.kind)
    steps = [texts, embeddings]
    if arguments.quantize is not None:
        steps.append(_quantized(arguments.quantize, embeddings, model, arguments.measured_on))
    with working_in(config, "encode", ()) as output:
        done = execute(config, output, steps)
    read, found = done[texts].manifest, done[embeddings]
    sampled = f", {read.rows['not_sampled']:,} not sampled" if read.rows["not_sampled"] else ""
    say(
        f"{read.rows['records']:,} records: {found.manifest.rows[NAME]:,} embedded, "
        f"{sum(read.rejects.values()):,} rejected{sampled}"
    )
    say(f"done in {duration(watch.seconds)}")
    say(f"vectors {found.address}/{VECTORS}")
    if arguments.quantize is not None:
        say(f"{arguments.quantize:7} {done[steps[-1]].address}/{VECTORS}")
        note("index and serve read the float32 vectors, not these; docs/serving.md shows a search in them")


def _quantized(precision: Precision, embeddings: StepSpec, model: Path, measured_on: str | None) -> StepSpec:
    """The step that writes them in few bits, by the run that ``model`` is of, or that is named.

    Raises:
        UserError: there is no such run, or USearch is not installed.
    """
    if importlib.util.find_spec("usearch") is None:
        raise UserError(
            f"--quantize {precision} needs the package usearch, which searches in such vectors; "
            'pip install "patent-embed[usearch]"'
        )
    place = measured_on or str(model.parent)
    run = open_run(place)
    if run is None:
        raise UserError(
            f"--quantize {precision} is measured on a run's test queries before it is written, and {place!r} holds no "
            "finished run; set --measured_on to the output folder of one"
        )

    def measured() -> Measured:
        texts = MeasuredTexts(run, _MOST_DOCUMENTS)
        vectors = texts.vectors(run, model)
        return *vectors, texts.ndcg_of

    return quantized_step(precision, embeddings, run.tables.queries, measured)
