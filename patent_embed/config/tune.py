"""Settings of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from patent_embed.section import Cli, Role, Section


class TuneConfig(Section):
    """A sweep (``patent-embed tune``): which settings vary, in how many trials."""

    space: dict[str, str] = Field(
        default_factory=dict,
        description="training settings to vary, each a range such as uniform(0.05, 0.5); empty: the learning rate, and "
        "what the loss has (margin or temperature)",
    )
    num_samples: Annotated[int, Cli("num_samples")] = Field(16, ge=1, description="trials")
    max_concurrent: Annotated[int | None, Cli("max_concurrent"), Role.LOGISTICS] = Field(
        None, ge=1, description="trials at once; None: what the machines have room for"
    )
    gpu_per_trial: float = Field(
        0.5, gt=0, le=1, description="share of a GPU, and of its memory, for one worker of a trial; 1: one trial a GPU"
    )
    grace_epochs: int = Field(1, ge=1, description="no trial is stopped for its rank before so many epochs")
    reduction_factor: int = Field(3, ge=2, description="of the trials that reach a rung, one in so many goes on")
    refit: Annotated[bool, Cli("refit", value=True), Role.LOGISTICS] = Field(
        False, description="train the best settings again, and measure them on test"
    )

    @field_validator("space", mode="before")
    @classmethod
    def _dotted(cls, space: Any) -> Any:
        """``lora: {r: ...}`` is ``lora.r: ...``: a dot in a name of ``--set`` begins a section."""
        if not isinstance(space, Mapping):
            return space
        flat: dict[str, Any] = {}
        for name, value in space.items():
            inner = cls._dotted(value) if isinstance(value, Mapping) else None
            flat |= {f"{name}.{key}": each for key, each in inner.items()} if inner is not None else {name: value}
        return flat
