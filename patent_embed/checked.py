"""Files that are what they were when they were finished: made durable, named by SHA-256, and compared when read.

A file is compared once: a process remembers what it has seen, and of large files the machine does, as long as size,
times and inode stay what they were. So a shard of a search does not read again what its neighbour has read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from patent_embed.folders import Folder, sync_path
from patent_embed.hashing import file_digest, stream_digest, text_digest
from patent_embed.scratch import scratch

_LARGE = 16 << 20  # bytes from which the machine remembers, too
_AT_ONCE = 8  # files that are read at once; hashing leaves Python's lock
_seen: set[str] = set()


def digests_of(place: Folder, names: Iterable[str], work: Path) -> dict[str, str]:
    """SHA-256 of files in ``place``, by name; read in ``work`` where they lie there, too."""
    wanted = list(names)

    def digest(name: str) -> str:
        here = work / name
        if here.is_file():
            found = file_digest(here)
            remember(here, found)
            return found
        with place.open(name) as file:
            return stream_digest(file)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(wanted, pool.map(digest, wanted), strict=True))


def is_whole(path: Path, digest: str) -> bool:
    """Whether a file's content has this SHA-256; it is read where nobody here has read it since it was written."""
    mark = _mark(path, digest)
    if mark in _seen:
        return True
    large = path.stat().st_size >= _LARGE
    if not (large and (scratch("checked") / mark).exists()):
        if file_digest(path) != digest:
            return False
        if large:
            _note(mark)
    _seen.add(mark)
    return True


def remember(path: Path, digest: str) -> None:
    """``path`` has just been read or written, and its content has this SHA-256."""
    mark = _mark(path, digest)
    _seen.add(mark)
    if path.stat().st_size >= _LARGE:
        _note(mark)


def sync(folder: Path, names: Iterable[str]) -> None:
    """Bring files below ``folder``, and the folders that name them, to the disk: a loss of power leaves them whole."""
    folders = {folder}
    for name in names:
        path = folder / name
        if path.is_file():
            sync_path(path)
            folders |= {parent for parent in path.parents if parent.is_relative_to(folder)}
    for each in folders:
        sync_path(each)


def _mark(path: Path, digest: str) -> str:
    stat = path.stat()
    known = (str(path), stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, digest)
    return text_digest(repr(known))


def _note(mark: str) -> None:
    with contextlib.suppress(OSError):  # a full disk: the next process reads the file again
        folder = scratch("checked")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / mark).touch()
