"""Settings of a run as a whole."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from patent_embed.section import Section


class NodeKind(Section):
    """A kind of node that a cluster's autoscaler may add."""

    cpus: int = Field(ge=1)
    gpus: int = Field(0, ge=0)
    count: int = Field(ge=1, description="of this kind, at most")


class RunConfig(Section):
    output_dir: str = "./experiments"
    seed: int = Field(42, ge=0)
    use_cache: bool = Field(True, description="reuse finished steps whose inputs and settings are unchanged")
    resume: str | None = Field(None, description="'latest' or a checkpoint folder: continue an interrupted training")
    test_only: bool = Field(False, description="evaluate without training")
    grows_to: list[NodeKind] = Field(
        default_factory=list,
        description="nodes that the cluster's autoscaler may add, which Ray does not tell a job",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
