"""Folders that go, though they may not be quiet."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

_WRITES_ON_S = 30.0  # a worker whose driver was killed, at most


def remove(folder: Path) -> None:
    """Remove a folder, though others may remove it, too, and what a killed run left behind may still write there.

    Raises:
        OSError: it cannot be removed, or somebody writes there for half a minute.
    """
    ends = time.monotonic() + _WRITES_ON_S
    while folder.exists():
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or time.monotonic() > ends:
                raise
            time.sleep(0.02)
