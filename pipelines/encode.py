"""A corpus to embeddings: two steps of their own in the output folder."""

from __future__ import annotations

from patent_embed.config.commands import EncodeArguments
from patent_embed.config.model import ABSTRACT
from patent_embed.config.settings import Config
from patent_embed.data.inputs import find_input
from patent_embed.encoder.hub import resolve_model
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.terminal import say
from pipelines.engine import LocalModel
from pipelines.job import execute
from pipelines.output_folder import working_in
from pipelines.preflight import before_models
from pipelines.steps.embed import searched_as
from pipelines.steps.embeddings import NAME, VECTORS, embeddings_step
from pipelines.steps.texts import texts_step


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
    with working_in(config, "encode", ()) as output:
        done = execute(config, output, [texts, embeddings])
    read, found = done[texts].manifest, done[embeddings]
    sampled = f", {read.rows['not_sampled']:,} not sampled" if read.rows["not_sampled"] else ""
    say(
        f"{read.rows['records']:,} records: {found.manifest.rows[NAME]:,} embedded, "
        f"{sum(read.rejects.values()):,} rejected{sampled}"
    )
    say(f"done in {duration(watch.seconds)}")
    say(f"vectors {found.address}/{VECTORS}")
