"""What a run publishes, made aside and then put in its place at once, so that what lies together belongs together.

The summary vouches for the rest: it goes first and comes last. A kill before the switch leaves what was there, a kill
in the middle of it a folder without a summary, in which no run is finished; the same command publishes again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from patent_embed.checked import sync
from patent_embed.folders import Folder
from patent_embed.ownership import claim
from pipelines.engine import Output
from pipelines.run_folder import ALONGSIDE, BESIDE_RUN, SUMMARY

_FRESH = ".publishing"


@contextlib.contextmanager
def published(output: Output, gone: Sequence[str] = ()) -> Iterator[Path]:
    """An empty folder. What stands in it when the block ends replaces what bears its names in the output folder; an
    exception leaves that as it was. Beside another run it goes into a folder of its own.

    Args:
        gone: names of an earlier run that are removed where nothing replaces them.
    """
    fresh = output.here / _FRESH
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    try:
        yield fresh
        names = sorted(path.name for path in fresh.iterdir() if path.name != SUMMARY)
        if output.beside:
            claim(output.folder, [BESIDE_RUN])
            target = output.folder / BESIDE_RUN
        else:
            claim(output.folder, [*names, SUMMARY])
            target = output.folder
        absent = [name for name in gone if name not in names]
        if output.folder.everywhere:
            _bring(fresh, target, names, absent)
            if not output.beside:
                output.publish(*(name for name in ALONGSIDE if (output.here / name).exists()))
            target.put(fresh / SUMMARY, SUMMARY)
        else:
            sync(fresh, [path.relative_to(fresh).as_posix() for path in fresh.rglob("*")])
            _switch(fresh, Path(target.inside), names, absent)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _bring(fresh: Path, target: Folder, names: Sequence[str], gone: Sequence[str]) -> None:
    """Copy to a store all but the summary."""
    for name in (SUMMARY, *gone, *(name for name in names if (fresh / name).is_dir())):
        target.delete(name)
    for name in names:
        target.put(fresh / name, name)


def _switch(fresh: Path, target: Path, names: Sequence[str], gone: Sequence[str]) -> None:
    """Give what is in ``fresh`` its place on this machine: renames only, the summary's last."""
    target.mkdir(exist_ok=True)
    (target / SUMMARY).unlink(missing_ok=True)
    sync(target, [])
    for name in gone:
        _remove(target / name)
    for name in (*names, SUMMARY):
        switch(fresh / name, target / name)
    sync(target, [])


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """An empty folder beside ``target``, which takes its place when the block ends; an exception leaves what was
    there."""
    fresh = target.with_name(f".{target.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        switch(fresh, target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def switch(fresh: Path, target: Path) -> None:
    """Give ``fresh``, a file or a folder on the same disk, the place of ``target``. A folder is absent for a moment."""
    old = target.with_name(f".{target.name}.old")
    _remove(old)
    if target.is_dir() or target.is_symlink():
        target.rename(old)
    fresh.replace(target)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
