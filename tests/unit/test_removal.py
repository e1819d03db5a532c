"""Folders go, whoever else is at them."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from patent_embed.removal import remove


@pytest.mark.parametrize("by", ["writes", "removes"])
def test_a_folder_goes_though_another_writes_or_removes(tmp_path: Path, by: str) -> None:
    """What a killed run had started is not dead at once."""
    folder, begun = tmp_path / "step", threading.Event()
    folder.mkdir()
    for number in range(500):
        (folder / f"x{number}").touch()

    def other() -> None:
        begun.set()
        if by == "removes":
            remove(folder)
            return
        for number in range(3000):
            with contextlib.suppress(OSError):  # the folder has gone
                (folder / f"{number}").touch()

    thread = threading.Thread(target=other)
    thread.start()
    begun.wait()
    remove(folder)
    thread.join()
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_removed_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        remove(tmp_path / "file")
