"""The output folder of a command while it works there: nobody else does, and nothing of anybody else is replaced."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from patent_embed.ownership import claim, require_ours
from patent_embed.progress.terminal import say
from patent_embed.run_lock import Held, RunLock, is_alive, read_owner
from pipelines.disk import check_writable
from pipelines.engine import STEPS, Output
from pipelines.run_folder import PROGRESS, PUBLISHED
from pipelines.steps.train import ADAPTER, MODEL

_BESIDE = "beside-"  # folders of commands that read beside a run
_BEGINS_S = 60.0  # so young, a folder without a lock may be about to have one


@contextlib.contextmanager
def working_in(config: Config, command: str, replaces: Sequence[str], *, reads: bool = False) -> Iterator[Output]:
    """The output folder, to work in.

    Args:
        command: what works there, for others to read.
        replaces: names in the folder that will be replaced.
        reads: another run may be at work: then this one makes what it needs aside, and leaves the run's files alone.

    Raises:
        UserError: another command works there, or something that is to be replaced is not of this program.
    """
    place = folder_at(config.run.output_dir)
    require_ours(place, [STEPS, PROGRESS, *replaces])
    if not reads:
        _require_other_base(config, place)
    lock, beside = _locked(place, command, reads=reads)
    # The lock goes first: closed, the output takes ``beside`` away, in which it may lie.
    with contextlib.closing(Output(place, beside, finishes=not reads)) as output, lock:
        if not beside:
            claim(place, [STEPS, PROGRESS])
            _drop_left_behind(place)
        yield output


@contextlib.contextmanager
def looking_at(config: Config) -> Iterator[Output]:
    """The output folder, to say what would be done there.

    Raises:
        UserError: nothing could be, because it cannot be written. A store is not asked.
    """
    place = folder_at(config.run.output_dir)
    if not place.everywhere:
        check_writable(Path(place.inside), "--output_dir")
    with contextlib.closing(Output(place)) as output:
        yield output


def _locked(place: Folder, command: str, *, reads: bool) -> tuple[RunLock, str]:
    """The lock, and the name of the folder that is worked in beside another run; empty without one."""
    beside = ""
    try:
        lock = RunLock(place, command)
    except Held as held:
        if not reads:
            raise
        beside = f"{_BESIDE}{uuid.uuid4().hex[:8]}"
        say(f"beside  {held.owner}: its files are read, and stay")
        lock = RunLock(place / beside, command)
    if lock.taken_over is not None:
        say(f"lock    taken over from {lock.taken_over}, which is no more")
    return lock, beside


def _drop_left_behind(place: Folder) -> None:
    """Remove what commands that were killed had made beside a run; in a store it is left, where listing costs."""
    if place.everywhere:
        return
    for path in Path(place.inside).glob(f"{_BESIDE}*"):
        owner = read_owner(place / path.name)
        if owner is None and _begins(path):
            continue
        if owner is None or not is_alive(place / path.name, owner):
            place.delete(path.name)


def _begins(path: Path) -> bool:
    """Whether a command has just made the folder of a reader, and has no lock in it yet."""
    try:
        return time.time() - path.stat().st_mtime < _BEGINS_S
    except FileNotFoundError:  # its reader has taken it away
        return False


def _require_other_base(config: Config, place: Folder) -> None:
    """The base model must not lie where the tuned one will."""
    base = Path(config.model.name).expanduser()
    if place.everywhere or not base.is_dir():
        return
    for name in (MODEL, ADAPTER, STEPS):
        if base.resolve().is_relative_to((Path(place.inside) / name).resolve()):
            raise UserError(
                f"--model_name {config.model.name!r} lies in {name}/ of --output_dir {config.run.output_dir!r}, which "
                "this run replaces: the base would be gone; copy the model, or choose another --output_dir"
            )


REPLACED_BY_A_RUN = (*PUBLISHED, MODEL, ADAPTER)
