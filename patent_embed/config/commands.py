"""The commands of the command line, and what each takes besides settings: a model a command.

A field with a ``Cli`` mark is an argument; which settings of ``Config`` a command takes as options, ``COMMANDS`` says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import override

from patent_embed.config.load import flat, preset_names, preset_settings
from patent_embed.config.model import Kind
from patent_embed.config.options import Option, options_of
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.section import Choices, Cli, Section, UserPath
from patent_embed.stores.base import STORES

Format = Literal["fp32", "fp16", "bf16", "onnx", "onnx-int8", "openvino", "openvino-int8"]
Precision = Literal["int8", "binary"]
AskingSplit = Literal["test", "val", "train", "all"]
QueryKind = Literal["title", "query", "claim", "citing"]
Layout = Literal["files", "jsonl", "jsonl.gz"]


def _told(preset: str) -> str:
    return ", ".join(f"{path}={value}" for path, value in flat(preset_settings(preset)).items())


class SettingsArguments(Section):
    """Where a command's settings come from, besides their own options."""

    config: Annotated[list[Path], UserPath, Cli("config", metavar="FILE", repeated=True)] = Field(
        default_factory=list, description="YAML overlay; may be repeated"
    )
    set: Annotated[list[str], Cli("set", metavar="SECTION.KEY=VALUE", repeated=True)] = Field(
        default_factory=list, description="any setting (docs/settings.md lists them); may be repeated"
    )

    def presets(self) -> list[str]:
        """The presets to merge, in order."""
        return []


class RunArguments(SettingsArguments):
    """What ``run`` and ``tune`` take."""

    recommended: Annotated[bool, Cli("recommended", value=True)] = Field(
        False, description="pin the recommended recipe against the config file (--preset recommended)"
    )
    quick_test: Annotated[bool, Cli("quick_test", value=True)] = Field(
        False, description=f"smoke run: {_told('quick_test')}"
    )
    plan: Annotated[bool, Cli("plan", value=True)] = Field(
        False, description="print what would run or be reused, and stop"
    )
    preset: Annotated[str | None, Choices(preset_names), Cli("preset")] = Field(
        None, description="a recipe: the recommended one, what did best on val, or the smoke run"
    )

    @model_validator(mode="after")
    def _one_recipe(self) -> RunArguments:
        if self.recommended and self.preset not in (None, "recommended"):
            raise UserError(f"--recommended and --preset {self.preset} are two recipes; choose one")
        return self

    @override
    def presets(self) -> list[str]:
        recipe = "recommended" if self.recommended else self.preset
        return [*([recipe] if recipe else []), *(["quick_test"] if self.quick_test else [])]


class CompareArguments(RunArguments):
    """What ``compare`` takes."""

    models: Annotated[list[str], UserPath, Cli("models", metavar="MODEL", positional=True)] = Field(
        min_length=1, description="hub ids or folders; the first is the baseline"
    )
    benchmark: Annotated[str | None, UserPath, Cli("benchmark", metavar="DIR")] = Field(
        None,
        description="measure on this benchmark: a BEIR folder, TREC qrels and queries, or mteb:TASK; without it: on "
        "the test set of the run in --output_dir, or of --data_dir",
    )


class EncodeArguments(SettingsArguments):
    """What ``encode`` takes."""

    text_column: Annotated[str | None, Cli("text_column")] = Field(
        None, description="column or field with the texts; without it: patents"
    )
    id_column: Annotated[str | None, Cli("id_column")] = Field(
        None, description="column or field that names the texts; without it: file and row"
    )
    kind: Annotated[Kind, Cli("kind")] = Field("passage", description="whose prompt is used")
    rows_per_file: Annotated[int, Cli("rows_per_file")] = Field(
        4096, ge=1, description="embeddings in a file of the result"
    )
    quantize: Annotated[Precision | None, Cli("quantize")] = Field(
        None,
        description="also write passages in so few bits, for a search with rescoring: int8 (a quarter of the size) or "
        "binary (a thirty-second is searched, and int8 rescores); refused where over 1 % of nDCG@10 is lost",
    )
    measured_on: Annotated[str | None, UserPath, Cli("measured_on", metavar="OUTPUT")] = Field(
        None,
        description="output folder of the run whose test queries measure --quantize; without it: the one that the "
        "model lies in",
    )

    @model_validator(mode="after")
    def _passages_are_quantized(self) -> EncodeArguments:
        if self.quantize is not None and self.kind != "passage":
            raise UserError(
                f"--quantize {self.quantize} is for passages, and --kind is {self.kind!r}: queries stay float32, by "
                "which what was found is rescored; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _an_id_names_a_text(self) -> EncodeArguments:
        if self.id_column is not None and self.text_column is None:
            raise UserError(
                f"--id_column {self.id_column!r} names texts, but without --text_column the folder holds patents, "
                "which are named by their publication numbers; set --text_column too"
            )
        return self


class ServeArguments(Section):
    """What ``serve`` takes."""

    output_dir: Annotated[str, UserPath, Cli("output_dir", positional=True)] = Field(
        description="output folder of a finished run"
    )
    data_dir: Annotated[str | None, UserPath, Cli("data_dir")] = Field(
        None, description="another corpus, which the run's models embed first; without it: the run's own patents"
    )
    host: Annotated[str, Cli("host")] = Field(
        "127.0.0.1",
        description="address to answer at; any but this machine's own needs the secret PATENT_EMBED_TOKEN",
    )
    port: Annotated[int, Cli("port")] = Field(8080, ge=0, le=65535, description="port to answer at; 0: a free one")
    judgements: Annotated[Path | None, UserPath, Cli("judgements")] = Field(
        None, description="file that judgements are added to; without it: judgements.jsonl in the output folder"
    )
    max_requests: Annotated[int, Cli("max_requests")] = Field(
        32, ge=1, description="requests answered at once; one more is told to come again"
    )


class IndexArguments(Section):
    """What ``index`` takes."""

    output_dir: Annotated[str, UserPath, Cli("output_dir", positional=True)] = Field(
        description="output folder of a finished run"
    )
    to: Annotated[list[str], Choices(lambda: STORES.names()), Cli("to")] = Field(
        min_length=1, description="one store or more"
    )
    data_dir: Annotated[str | None, UserPath, Cli("data_dir")] = Field(
        None, description="another corpus, which the run's models embed first; without it: the run's own patents"
    )


class InspectArguments(SettingsArguments):
    """What ``inspect`` takes."""

    data_dir: Annotated[str, UserPath, Cli("data_dir", metavar="DIR", positional=True)] = Field(
        description="folder or file with the patents, as --data_dir of run; also s3://, gs://, hdfs://"
    )
    json_lines: Annotated[bool, Cli("json", value=True)] = Field(
        False,
        description="a JSON object a line for each record, and nothing else: publication_number, title, abstract, "
        "codes, reason (empty for a usable one), source",
    )
    limit: Annotated[int | None, Cli("limit")] = Field(
        None, ge=1, description="look at so many records of each file; None: all"
    )


class ExportArguments(Section):
    """What ``export`` takes."""

    output_dir: Annotated[str, UserPath, Cli("output_dir", positional=True)] = Field(
        description="output folder of a finished run"
    )
    format: Annotated[list[Format], Cli("format")] = Field(min_length=1, description="one or more")
    force: Annotated[bool, Cli("force", value=True)] = Field(
        False, description="also write what loses more than 0.5 % of nDCG@10"
    )
    max_documents: Annotated[int, Cli("max_documents")] = Field(
        20_000, ge=1, description="documents that are searched to measure the formats, at most"
    )


class VerifyArguments(Section):
    """What ``verify`` takes."""

    output_dir: Annotated[str, UserPath, Cli("output_dir", positional=True)] = Field(
        description="output folder of a finished run"
    )
    engines: Annotated[list[str], Cli("engines", metavar="ENGINE")] = Field(
        ["sentence-transformers"],
        min_length=1,
        description="sentence-transformers, onnx, openvino, vllm, vllm-lora (base model and adapter), or addresses of "
        "OpenAI-compatible endpoints, such as http://127.0.0.1:8080/v1 (key: OPENAI_API_KEY)",
    )
    endpoint_model: Annotated[str | None, Cli("endpoint_model", metavar="NAME")] = Field(
        None, description="what endpoints call the model; without it: the first that they list"
    )
    max_passages: Annotated[int, Cli("max_passages")] = Field(
        1000, ge=1, description="passages that are embedded and searched, at most; and no more queries"
    )


class BenchmarkArguments(Section):
    """What ``benchmark`` takes."""

    output_dir: Annotated[str, UserPath, Cli("output_dir", positional=True)] = Field(
        description="output folder of a finished run"
    )
    folder: Annotated[Path, UserPath, Cli("folder", metavar="DIR", positional=True)] = Field(
        description="where the benchmark goes"
    )
    split: Annotated[AskingSplit, Cli("split")] = Field(
        "test", description="whose patents ask; candidates are all patents of the run"
    )
    kinds: Annotated[list[QueryKind] | None, Cli("kinds")] = Field(
        None,
        min_length=1,
        description="titles, written queries, first claims, patents that ask for what they cite; without it: all "
        "that are no part of what is searched",
    )
    name: Annotated[str | None, Cli("name")] = Field(None, description="what it is called; without it: as the folder")
    licence: Annotated[str | None, Cli("license", metavar="TEXT")] = Field(
        None, description="what others may do with it (an SPDX name, or a sentence)"
    )


class AdaptArguments(Section):
    """What ``adapt`` takes."""

    old: Annotated[str, UserPath, Cli("old", metavar="OLD", positional=True)] = Field(
        description="model that wrote the index: hub id or folder"
    )
    new: Annotated[str, UserPath, Cli("new", metavar="NEW", positional=True)] = Field(
        description="model whose queries shall search it: hub id or folder"
    )
    output_dir: Annotated[str, UserPath, Cli("output_dir")] = Field(
        "./experiments",
        description="output folder of a finished run, whose patents and queries fit and measure the map",
    )
    force: Annotated[bool, Cli("force", value=True)] = Field(
        False, description="also write a map that keeps less than 97 % of the new model's nDCG@10"
    )
    max_documents: Annotated[int, Cli("max_documents")] = Field(
        20_000, ge=1, description="documents that are embedded by both models, at most"
    )


class SampleArguments(Section):
    """What ``sample`` takes."""

    folder: Annotated[Path, UserPath, Cli("folder", positional=True)] = Field(description="where the files go")
    count: Annotated[int, Cli("count")] = Field(600, ge=1, description="how many patents")
    seed: Annotated[int, Cli("seed")] = Field(0, ge=0, description="another seed: other patents")
    layout: Annotated[Layout, Cli("layout")] = Field(
        "files", description="one JSON file a patent, or one file with a patent a line"
    )


@dataclass(frozen=True)
class Command:
    """A command: its name, what it does, its own arguments, and the settings (dotted, or a whole section) that are
    options of it."""

    name: str
    help: str
    arguments: type[Section]
    settings: tuple[str, ...] = ()

    def options(self) -> Iterator[Option]:
        """The options that write settings."""
        return (o for o in options_of(Config) if any(f"{o.path}.".startswith(f"{path}.") for path in self.settings))


_OF_A_RUN = tuple(name for name in Config.model_fields if name != "tune")
_OF_ENCODE = ("data.data_dir", "data.max_samples", "model.name", "run.output_dir", "run.seed", "run.log_level")

_COMMANDS = (
    Command("run", "prepare, train, evaluate", RunArguments, _OF_A_RUN),
    Command("tune", "search for training settings", RunArguments, tuple(Config.model_fields)),
    Command("coverage", "would more patents or queries help? trains on shares of them", RunArguments, _OF_A_RUN),
    Command("compare", "measure any models on one test set", CompareArguments, _OF_A_RUN),
    Command("encode", "embed a corpus", EncodeArguments, _OF_ENCODE),
    Command("serve", "search what a run trained, in a browser and by an API", ServeArguments),
    Command("index", "write patents and vectors into a vector store", IndexArguments),
    Command("export", "a run's model in other formats", ExportArguments),
    Command("verify", "do programs that serve a run's model give the vectors that were measured?", VerifyArguments),
    Command("benchmark", "make a retrieval benchmark of a run's patents", BenchmarkArguments),
    Command("adapt", "queries of a new model for the index of an old one", AdaptArguments),
    Command("inspect", "show what would be read of a folder, and what would not", InspectArguments),
    Command("sample", "write generated sample patents", SampleArguments),
)
COMMANDS = {command.name: command for command in _COMMANDS}
