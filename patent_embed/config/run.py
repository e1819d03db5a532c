"""Settings of a run as a whole."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from patent_embed.section import Cli, Role, Section, UserPath


class NodeKind(Section):
    """A kind of node that a cluster's autoscaler may add."""

    cpus: int = Field(ge=1, description="CPUs of such a node")
    gpus: int = Field(0, ge=0, description="GPUs of such a node")
    count: int = Field(ge=1, description="nodes of this kind, at most")


class RunConfig(Section):
    """The run as a whole: where its results go, what is done again, what it says."""

    output_dir: Annotated[str, UserPath, Cli("output_dir"), Role.LOGISTICS] = Field(
        "./experiments",
        description="folder where artifacts, model, metrics and report go; also s3://, gs://, hdfs://",
    )
    seed: Annotated[int, Cli("seed")] = Field(42, ge=0, description="seed of every random choice")
    use_cache: Annotated[
        bool,
        Cli("use_cache", "reuse finished steps (default)", value=True),
        Cli("no_use_cache", "run every step again", value=False),
        Role.LOGISTICS,
    ] = Field(True, description="reuse finished steps whose inputs and settings are unchanged")
    resume: Annotated[
        str | None,
        UserPath,
        Cli("resume", "continue an interrupted training or sweep: its latest checkpoint, or this one", alone="latest"),
        Role.LOGISTICS,
    ] = Field(
        None,
        description="'latest' or a checkpoint folder: continue an interrupted training or sweep; None: start anew",
    )
    test_only: Annotated[
        bool, Cli("test_only", "evaluate what is in --output_dir (or --model_name)", value=True), Role.LOGISTICS
    ] = Field(False, description="evaluate what is in the output folder (or the base model) without training")
    publish: Annotated[Literal["auto", "always"], Role.LOGISTICS] = Field(
        "auto",
        description="auto: a tuned model that may be worse than the base is not published, the program exits with 3; "
        "always: it is published all the same (docs/publishing.md)",
    )
    grows_to: Annotated[list[NodeKind], Role.LOGISTICS] = Field(
        default_factory=list,
        description="nodes that the cluster's autoscaler may add, which Ray does not tell a job; empty: it adds none",
    )
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Cli("log_level"), Role.LOGISTICS] = Field(
        "INFO", description="log messages of this level and above are shown"
    )

    @field_validator("output_dir")
    @classmethod
    def _is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("an empty path would be the current folder, whatever is in it; name one, as ./experiments")
        return value
