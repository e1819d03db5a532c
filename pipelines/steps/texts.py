"""The texts that are to be embedded: patents' abstracts, or any column of texts."""

from __future__ import annotations

from typing import Any

from patent_embed.artifacts import Outcome
from patent_embed.config.commands import EncodeArguments
from patent_embed.config.data import DataConfig
from patent_embed.config.settings import Config
from patent_embed.data.fields import FieldNames
from patent_embed.data.inputs import PatentFiles
from patent_embed.data.parsers import parser_of, reading_settings
from patent_embed.data.records import PatentTextParser, RecordParser, TextParser, WholePatentParser
from pipelines.engine import Context, StepSpec, rate
from pipelines.steps import ingest

NAME = "texts"
# The vectors' corpus has no claims and no descriptions: their limits do not count.
_NOT_KEPT = ("max_claims_chars", "max_description_chars")


def texts_step(
    config: Config, arguments: EncodeArguments, found: PatentFiles, *, whole_records: bool = False
) -> StepSpec:
    """The texts of the files ``found``, in row groups of ``arguments.rows_per_file``. ``whole_records``: of patents,
    claims, dates and the like are kept, too, to be shown and filtered by."""
    data, seed = config.data, config.run.seed
    told = {"text": arguments.text_column, "id": arguments.id_column, "rows_per_file": arguments.rows_per_file}
    read = reading_settings(data) | {"whole_records": True} if whole_records else _settings(data)

    def work(context: Context) -> Outcome:
        outcome = ingest.ingest(
            context.folder,
            found,
            data,
            seed,
            parser=parser_of(data, WholePatentParser) if whole_records else _parser(data, arguments),
            rows_per_group=arguments.rows_per_file,
            emit=context.progress.emit,
        )
        outcome.rows["texts"] = outcome.rows.pop("patents")
        return outcome

    return StepSpec(
        name=NAME,
        version=3 if whole_records else 2,  # without them, what was added to records since is not read
        settings=told | read | {"seed": seed},
        inputs={"files": found},
        work=work,
        again=lambda artifact: ingest.look_again(artifact, found),
        notes=lambda artifact: [*ingest.reading_notes(artifact, FieldNames.of(data.fields.named())), *found.notes()],
        rate=rate,
        counts=ingest.shown_counts,
    )


def _settings(data: DataConfig) -> dict[str, Any]:
    """What changes the texts that are read."""
    return {key: value for key, value in reading_settings(data).items() if key not in _NOT_KEPT}


def _parser(data: DataConfig, arguments: EncodeArguments) -> RecordParser:
    bounds = (data.min_abstract_chars, data.max_abstract_chars)
    if arguments.text_column is None:
        return PatentTextParser(*bounds, names=FieldNames.of(data.fields.named()))
    return TextParser(*bounds, arguments.text_column, arguments.id_column)
