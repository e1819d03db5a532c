"""Where a training stands, on disk: plain tensors and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at

STATE_FILE = "state.json"
WEIGHTS_FILE = "weights.safetensors"
BEST_FILE, BEST_VAL_FILE = "best.safetensors", "best-val.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"


@dataclass
class TrainState:
    """Where a training stands, and what it has seen. ``epoch`` and ``step`` count what is finished."""

    fingerprint: str
    epoch: int = 0
    step: int = 0
    kept_epoch: int = 0  # whose weights would be published now
    best_epoch: int = 0
    best_value: float | None = None
    stale: int = 0  # evaluations since the best one
    stopped: bool = False
    doubt: dict[str, float | None] | None = None  # the best epoch against the last: the fields of ``Doubt``
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass
class Checkpoint:
    """All that a training goes on from. Tensors are on the CPU, by the name of their parameter.

    Attributes:
        weights: of the newest epoch.
        best: of the epoch that was best on val; empty before there is one.
        best_val: what that epoch reached on each val query, as ``values``.
        moments: the optimizer's state of each parameter, as ``parameter/moment``.
    """

    state: TrainState
    weights: dict[str, Tensor]
    best: dict[str, Tensor]
    best_val: dict[str, Tensor]
    moments: dict[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write it into the existing ``folder``. The state file comes last and vouches for the rest."""
    save_file(checkpoint.weights, folder / WEIGHTS_FILE)
    save_file(checkpoint.best, folder / BEST_FILE)
    save_file(checkpoint.best_val, folder / BEST_VAL_FILE)
    save_file(checkpoint.moments, folder / OPTIMIZER_FILE)
    (folder / STATE_FILE).write_text(json.dumps(asdict(checkpoint.state), indent=1), encoding="utf-8")


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint:
    """What ``save_checkpoint`` wrote. Raises UserError as ``read_state`` does."""
    state = read_state(folder, fingerprint)
    names = (WEIGHTS_FILE, BEST_FILE, BEST_VAL_FILE, OPTIMIZER_FILE)
    return Checkpoint(state, *(load_file(folder / name) for name in names))


def read_state(folder: Path | Folder, fingerprint: str) -> TrainState:
    """The state of a checkpoint of the training ``fingerprint``. Raises UserError when the folder holds no whole one,
    or that of another model, data or setting."""
    place = folder_at(folder)
    try:
        content = place.read(STATE_FILE)
        if content is None:
            raise FileNotFoundError
        state = TrainState(**json.loads(content))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{str(place)!r} is not a whole checkpoint ({type(error).__name__} at {STATE_FILE}); "
            "name another one, or train without --resume"
        ) from None
    if state.fingerprint != fingerprint:
        raise UserError(
            f"checkpoint {str(place)!r} belongs to training {state.fingerprint[:14]}, this is {fingerprint[:14]}: its "
            "model, data or settings differ; use the settings it was made with, or train without --resume"
        )
    return state


def moments_of(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's state of each of its ``parameters``, on the CPU, as ``parameter/moment``."""
    return {
        f"{name}/{key}": torch.as_tensor(value).detach().cpu().contiguous()
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
    }


def restore_moments(
    optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter], moments: dict[str, Tensor]
) -> None:
    """Put ``moments`` into the optimizer; counters stay on the CPU, where it keeps them."""
    for key, value in moments.items():
        name, _, moment = key.rpartition("/")
        parameter = parameters[name]
        optimizer.state[parameter][moment] = value.to(parameter.device) if value.ndim else value
