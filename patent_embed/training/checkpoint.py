"""Where a training stands, on disk: plain tensors and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at, json_of
from patent_embed.hashing import file_digest, stream_digest

STATE_FILE = "state.json"
WEIGHTS_FILE = "weights.safetensors"
BEST_FILE, BEST_VAL_FILE = "best.safetensors", "best-val.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
_FILES = (WEIGHTS_FILE, BEST_FILE, BEST_VAL_FILE, OPTIMIZER_FILE)  # in the order of ``Checkpoint``
_SHA256 = "sha256"  # in the state file, beside the state: file → digest


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


_STATE = TypeAdapter(TrainState)


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
    content = asdict(checkpoint.state) | {_SHA256: {name: file_digest(folder / name) for name in _FILES}}
    (folder / STATE_FILE).write_text(json.dumps(content, indent=1), encoding="utf-8")


def keep_checkpoint(source: Path, place: Folder) -> None:
    """Copy what ``save_checkpoint`` wrote to where it is looked for: each file is on the disk before it has its name,
    and the state file comes last, so that a loss of power leaves a whole checkpoint or one that is known not to be."""
    for name in (*_FILES, STATE_FILE):
        place.put(source / name, name)


def load_checkpoint(folder: Path, fingerprint: str) -> Checkpoint:
    """What ``save_checkpoint`` wrote. Raises UserError as ``read_state`` does, and where a file is damaged."""
    state = read_state(folder, fingerprint)
    if fault := damage(folder_at(folder)):
        raise _not_whole(folder_at(folder), fault)
    return Checkpoint(state, *(load_file(folder / name) for name in _FILES))


def damage(place: Folder) -> str:
    """What is wrong with the checkpoint in ``place``, in words; empty where it is whole. Reads all of it."""
    try:
        expected = _read(place)[_SHA256]
        for name in _FILES:
            if place.size(name) is None:
                return f"{name} is missing"
            with place.open(name) as file:
                if stream_digest(file) != expected[name]:
                    return f"{name} is damaged"
    except (OSError, ValueError, TypeError, KeyError) as error:
        return f"{type(error).__name__} at {STATE_FILE}"
    return ""


def read_state(folder: Path | Folder, fingerprint: str) -> TrainState:
    """The state of a checkpoint of the training ``fingerprint``. Raises UserError when the folder holds no whole one,
    or that of another model, data or setting."""
    place = folder_at(folder)
    try:
        content = _read(place)
        del content[_SHA256]
        _STATE.validate_python(content)  # raises for other types
        state = TrainState(**content)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _not_whole(place, f"{type(error).__name__} at {STATE_FILE}") from None
    if state.fingerprint != fingerprint:
        raise UserError(
            f"checkpoint {str(place)!r} belongs to training {state.fingerprint[:14]}, this is {fingerprint[:14]}: its "
            "model, data or settings differ; use the settings it was made with, or train without --resume"
        )
    return state


def _read(place: Folder) -> dict[str, Any]:
    """The state file. Raises OSError, ValueError or TypeError where there is none that is whole."""
    content = place.read(STATE_FILE)
    if content is None:
        raise FileNotFoundError
    found = json_of(content)
    if not isinstance(found, dict):
        raise TypeError
    return found


def _not_whole(place: Folder, fault: str) -> UserError:
    return UserError(f"{str(place)!r} is not a whole checkpoint ({fault}); name another one, or train without --resume")


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
