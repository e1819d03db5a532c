"""Where a training stands, on disk: plain tensors and JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from patent_embed.errors import UserError

STATE_FILE = "state.json"
WEIGHTS_FILE = "weights.safetensors"
KEPT_FILE = "kept.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"


@dataclass
class TrainState:
    """Where a training stands, and what it has seen. ``epoch`` and ``step`` count what is finished."""

    fingerprint: str
    epoch: int = 0
    step: int = 0
    kept_epoch: int = 0
    best_value: float | None = None
    stale: int = 0  # evaluations since the best one
    stopped: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


def read_state(folder: Path, fingerprint: str) -> TrainState:
    """The state of a checkpoint of the training ``fingerprint``. Raises UserError when the folder holds no whole one,
    or that of another model, data or setting."""
    try:
        state = TrainState(**json.loads((folder / STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{str(folder)!r} is not a whole checkpoint ({type(error).__name__} at {STATE_FILE}); "
            "name another one, or train without --resume"
        ) from None
    if state.fingerprint != fingerprint:
        raise UserError(
            f"checkpoint {str(folder)!r} belongs to training {state.fingerprint[:14]}, this is {fingerprint[:14]}: its "
            "model, data or settings differ; use the settings it was made with, or train without --resume"
        )
    return state
