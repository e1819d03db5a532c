"""Where a plan writes: whether that can be written, and has room for the least that it needs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from patent_embed.artifacts import Artifact, Step
from patent_embed.config.settings import Config
from patent_embed.data.inputs import PatentFiles
from patent_embed.errors import UserError
from patent_embed.folders import json_of
from pipelines.engine import LocalModel, StepSpec
from pipelines.steps import embed, embeddings, train

# Each errs on the small side: a run that would fit must not be refused.
_BESIDE = 10 << 20  # bytes of logs, manifests and reports
_CORPUS_SHARE = 0.02  # of the files' bytes: most of an export may be fields that are not kept, and what is, is packed
_STATES = 3  # in a checkpoint of all weights: they, and the optimizer's two moments
_VECTOR_BYTES = 2  # of a number in a vector

Find = Callable[[Step], Artifact | None]


def check_writable(folder: Path, setting: str) -> None:
    """``folder``, or the one that it would be made in, takes a file. ``setting`` says what names it."""
    there = folder
    while not os.path.lexists(there) and there != there.parent:
        there = there.parent
    try:
        with contextlib.suppress(FileNotFoundError):
            os.lstat(folder)  # raises where the name itself cannot be: it is too long
        with tempfile.NamedTemporaryFile(dir=there, prefix=".patent-embed-"):
            return
    except OSError as error:
        reason = error.strerror or type(error).__name__
    raise UserError(f"{str(folder)!r} cannot be written ({reason}); set {setting} to a folder that can")


def check_disk(folder: Path, config: Config, unfinished: Sequence[StepSpec], find: Find) -> None:
    """The disk of ``folder`` has room for what ``unfinished`` write; ``find`` finds the artifact of a step.

    Raises:
        UserError: less is free than the least that they need.
    """
    parts = least_bytes(config, unfinished, find)
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free, needed = shutil.disk_usage(there).free, sum(parts.values())
    if free < needed:
        named = ", ".join(f"{name} {_shown(size)}" for name, size in parts.items() if size)
        raise UserError(
            f"{str(folder)!r} has room for {_shown(free)}, and the run needs {_shown(needed)} at least ({named}); free "
            "some, or set --output_dir to a larger disk"
        )


def least_bytes(config: Config, unfinished: Sequence[StepSpec], find: Find) -> dict[str, int]:
    """What the steps write, in bytes, by kind; less than it will be."""
    inputs = [each for step in unfinished for each in step.inputs.values()]
    model = next((each.folder for each in inputs if isinstance(each, LocalModel)), None)
    weights = _weights(model) if model else 0
    trainings = sum(step.name.startswith(train.NAME) for step in unfinished)  # and their mean
    checkpoints = 0 if config.training.use_lora else _STATES * weights * config.training.keep_checkpoints
    vectors = sum(_rows(step, find) for step in unfinished if step.name.startswith((embed.NAME, embeddings.NAME)))
    files = sum(each.size for each in inputs if isinstance(each, PatentFiles))
    return {
        "models": (trainings + bool(trainings)) * weights,  # of each step, and the published one
        "checkpoints": checkpoints * bool(trainings),
        "vectors": vectors * _width(model) * _VECTOR_BYTES if model else 0,
        "corpus": int(files * _CORPUS_SHARE),
        "other": _BESIDE,
    }


def _weights(model: Path) -> int:
    """Bytes of a model's weights in one format."""
    sizes = (sum(path.stat().st_size for path in model.rglob(suffix)) for suffix in ("*.safetensors", "*.bin"))
    return next(filter(None, sizes), 0)


def _width(model: Path) -> int:
    """Numbers in a vector of the model; 1 where its settings do not say."""
    for path in sorted(model.rglob("config.json")):
        try:
            width = json_of(path.read_bytes()).get("hidden_size")
        except (ValueError, AttributeError):
            continue
        if isinstance(width, int):
            return width
    return 1


def _rows(step: StepSpec, find: Find) -> int:
    """Texts that a step embeds, as far as the steps before it are done."""
    before = [each for each in step.inputs.values() if isinstance(each, StepSpec)]
    done = [found.manifest.rows for each in before if (found := find(each.identity)) is not None]
    return sum(rows.get(kind, 0) for rows in done for kind in ("patents", "texts"))


def _shown(size: int) -> str:
    """``1.2 GB``, ``34 MB``."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
