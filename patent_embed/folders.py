"""Folders of this machine and of object stores (``s3://``, ``gs://``, ``hdfs://``) behind one interface.

Names below a folder are written with ``/``. A file arrives whole or not at all: on this machine it is written beside
its place and renamed, a store shows an object when all of it is there. A step works in the folder's ``workspace``: the
folder itself on this machine, a scratch folder for one in a store, from where ``put`` brings what is finished.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlsplit

import pyarrow as pa
from pyarrow import fs

from patent_embed.credentials import ADVICE, credential_in
from patent_embed.errors import UserError
from patent_embed.removal import remove
from patent_embed.scratch import scratch

SCHEMES = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss")
_SHOWN = 200  # characters of an address
_UNFINISHED = ".tmp"  # the end of a hidden file that is being written


@dataclass(frozen=True)
class Entry:
    """A file below a folder: its name there, its bytes, and when it was last written."""

    name: str
    size: int
    mtime_ns: int


class Folder(ABC):
    """A folder, whether it exists or not. Made by ``folder_at``; plain data, so that it travels to workers.

    Attributes:
        address: what ``folder_at`` finds it by: an absolute path, or an address in a store.
        filesystem: pyarrow's, of which ``inside`` is the folder's path.
    """

    address: str
    filesystem: fs.FileSystem
    inside: str

    @abstractmethod
    def __truediv__(self, name: str) -> Folder: ...

    def __str__(self) -> str:
        return self.address

    def __repr__(self) -> str:
        return f"folder_at({self.address!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and other.address == self.address

    def __hash__(self) -> int:
        return hash(self.address)

    @property
    def name(self) -> str:
        """The last part of its path."""
        return PurePosixPath(self.inside).name

    @property
    @abstractmethod
    def parent(self) -> Folder:
        """The folder that it lies in."""

    @property
    @abstractmethod
    def everywhere(self) -> bool:
        """Whether machines that share no disk with this one reach it, too."""

    @abstractmethod
    def entries(self) -> list[Entry]:
        """All files at any depth, by name, without those that are being written. An absent folder has none.

        Raises:
            UserError: the store refuses.
        """

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is no such file."""
        info = self.filesystem.get_file_info(f"{self.inside}/{name}")
        return info.size if info.type == fs.FileType.File else None

    def holds(self, name: str) -> bool:
        """Whether anything bears the name: a file, a folder, a link wherever it leads."""
        return bool(self.filesystem.get_file_info(f"{self.inside}/{name}").type != fs.FileType.NotFound)

    def open(self, name: str) -> BinaryIO:
        """A file to read from, and to seek in."""
        return cast(BinaryIO, io.BufferedReader(self.filesystem.open_input_file(f"{self.inside}/{name}")))

    @abstractmethod
    def opener(self, name: str) -> Callable[[], BinaryIO]:
        """What opens a file to read it once. What a network loses raises here, what is wrong with the file when it is
        opened."""

    def read(self, name: str) -> bytes | None:
        """A file's content; None when there is no such file."""
        try:
            with self.filesystem.open_input_stream(f"{self.inside}/{name}") as stream:
                return cast(bytes, stream.read())
        except FileNotFoundError:
            return None

    @abstractmethod
    def new_file(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """A path to write: what stands there when the block ends is the file ``name``, safe from a loss of power; an
        exception leaves nothing."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file: a reader sees the old content or the new one, never a part."""
        with self.new_file(name) as path:
            path.write_bytes(content)

    @abstractmethod
    def put(self, source: Path, name: str = "") -> None:
        """Copy a file, or all files below a folder, to ``name``; nothing where ``source`` is that place."""

    @abstractmethod
    def fetch(self, name: str, target: Path) -> None:
        """Copy one file to ``target``, where it appears whole, whoever else fetches it; nothing where that is it."""

    def fetch_all(self, target: Path, name: str = "") -> Path:
        """Copy all files below the folder ``name`` to ``target``, which is returned."""
        for entry in (self / name if name else self).entries():
            self.fetch(f"{name}/{entry.name}" if name else entry.name, target / entry.name)
        return target

    @abstractmethod
    def delete(self, name: str = "") -> None:
        """Remove a file, or a folder with all that is in it; it may be absent."""

    @abstractmethod
    def workspace(self, purpose: str) -> Path:
        """Where what will lie in the folder is made: there, or in an empty scratch folder, one a ``purpose``."""

    @abstractmethod
    def leave(self, work: Path, cache: Path | None = None) -> None:
        """Give up a ``workspace`` whose content has been ``put``: it goes, or becomes the ``cache`` of readers here."""

    @abstractmethod
    def copies(self, cache: Path) -> Path:
        """Where readers on this machine find what they ``fetch``: in ``cache``, or in the folder if it is here."""


class _Local(Folder):
    """A folder of this machine, or of a disk that all machines share."""

    everywhere = False

    def __init__(self, path: Path) -> None:
        self._path = path
        self.address = self.inside = str(path)

    @property
    def filesystem(self) -> fs.FileSystem:  # made where it is used: it need not travel
        return fs.LocalFileSystem()

    def __truediv__(self, name: str) -> Folder:
        return _Local(self._path / name)

    @property
    def parent(self) -> Folder:
        return _Local(self._path.parent)

    def entries(self) -> list[Entry]:
        found = []
        for path in self._path.rglob("*"):
            if path.is_file() and not (path.name.startswith(".") and path.name.endswith(_UNFINISHED)):
                status = path.stat()
                found.append(Entry(path.relative_to(self._path).as_posix(), status.st_size, status.st_mtime_ns))
        return sorted(found, key=lambda entry: entry.name)

    def holds(self, name: str) -> bool:
        return os.path.lexists(self._path / name)

    def opener(self, name: str) -> Callable[[], BinaryIO]:
        return partial(cast(Callable[[str], BinaryIO], (self._path / name).open), "rb")

    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        with _replacing(self._path / name) as path:
            yield path

    def put(self, source: Path, name: str = "") -> None:
        target = self._path / name
        if source.resolve() == target.resolve():
            return
        if source.is_dir():
            for path in sorted(source.rglob("*")):
                if path.is_file():
                    _copy(path, target / path.relative_to(source))
        else:
            _copy(source, target)

    def fetch(self, name: str, target: Path) -> None:
        if target.resolve() != (self._path / name).resolve():
            _copy(self._path / name, target)

    def delete(self, name: str = "") -> None:
        target = self._path / name
        if target.is_dir() and not target.is_symlink():
            remove(target)
        else:
            target.unlink(missing_ok=True)

    def workspace(self, purpose: str) -> Path:
        self._path.mkdir(parents=True, exist_ok=True)
        return self._path

    def leave(self, work: Path, cache: Path | None = None) -> None:
        """The folder itself was the workspace."""

    def copies(self, cache: Path) -> Path:
        return self._path


class _Store(Folder):
    """A folder at the address ``uri``. Options of the file system may follow its path: ``?region=eu-west-1``."""

    everywhere = True

    def __init__(self, uri: str) -> None:
        if found := credential_in(uri):
            raise UserError(f"an address holds {found}: {ADVICE}")
        scheme = uri.partition("://")[0]
        if scheme not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise UserError(f"{uri!r} is in no store that can be read; use one of {known}, or a local path")
        self.address = uri
        try:
            self.filesystem, self.inside = fs.FileSystem.from_uri(uri)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{uri!r} cannot be opened: {str(error).splitlines()[0]}") from None

    def _at(self, path: str) -> Folder:
        return _Store(urlsplit(self.address)._replace(path=path).geturl())

    def __truediv__(self, name: str) -> Folder:
        return self._at(f"{urlsplit(self.address).path.rstrip('/')}/{quote(name)}")

    @property
    def parent(self) -> Folder:
        return self._at(str(PurePosixPath(urlsplit(self.address).path).parent))

    def entries(self) -> list[Entry]:
        selector = fs.FileSelector(self.inside, recursive=True, allow_not_found=True)
        try:
            found = self.filesystem.get_file_info(selector)
        except OSError as error:
            raise UserError(f"{self.address!r} cannot be read: {str(error).splitlines()[0]}") from None
        files = [info for info in found if info.type == fs.FileType.File]
        named = [
            Entry(str(PurePosixPath(info.path).relative_to(self.inside)), info.size, info.mtime_ns or 0)
            for info in files
        ]
        return sorted(named, key=lambda entry: entry.name)

    def opener(self, name: str) -> Callable[[], BinaryIO]:
        content = self.read(name)
        if content is None:
            raise FileNotFoundError(f"{self}/{name} has gone since it was found")
        return partial(io.BytesIO, content)

    @contextlib.contextmanager
    def new_file(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as made:
            path = Path(made) / PurePosixPath(name).name
            yield path
            self.put(path, name)

    def put(self, source: Path, name: str = "") -> None:
        target = f"{self.inside}/{name}" if name else self.inside
        if not source.is_dir():
            fs.copy_files(str(source), target, fs.LocalFileSystem(), self.filesystem)
            return
        for path in sorted(source.rglob("*")):
            if path.is_file():
                inside = path.relative_to(source).as_posix()
                fs.copy_files(str(path), f"{target}/{inside}", fs.LocalFileSystem(), self.filesystem)

    def fetch(self, name: str, target: Path) -> None:
        with _replacing(target) as path:
            fs.copy_files(f"{self.inside}/{name}", str(path), self.filesystem, fs.LocalFileSystem())

    def delete(self, name: str = "") -> None:
        target = f"{self.inside}/{name}" if name else self.inside
        kind = self.filesystem.get_file_info(target).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(target)
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(target)

    def workspace(self, purpose: str) -> Path:
        work = scratch(f"{purpose}-{os.getpid()}")
        shutil.rmtree(work, ignore_errors=True)  # of a failed attempt, or of a process that had the same number
        work.mkdir(parents=True)
        return work

    def leave(self, work: Path, cache: Path | None = None) -> None:
        if cache is None or cache.exists():
            shutil.rmtree(work, ignore_errors=True)
        else:
            os.replace(work, cache)

    def copies(self, cache: Path) -> Path:
        return cache


def folder_at(address: str | Path | Folder) -> Folder:
    """The folder at a path of this machine (``~`` stays as it is) or at an address in a store.

    Raises:
        UserError: the address is in no store that can be read, or holds a password.
    """
    if isinstance(address, Folder):
        return address
    if isinstance(address, str) and "://" in address:
        return _Store(address)
    try:
        return _Local(Path(address).resolve())  # workers have another working directory
    except (OSError, RuntimeError) as error:  # RuntimeError: of links that lead to each other
        reason = error.strerror if isinstance(error, OSError) else "its links lead to each other"
        raise UserError(f"{str(address)[:_SHOWN]!r} is no path that can be used: {reason}; name another one") from None


def json_of(content: bytes | str) -> Any:
    """The value of a JSON text. Raises ValueError where it is none, also of what is nested too deeply to be read."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file of this machine so that a reader sees the old content or the new one, never a part."""
    with _replacing(path) as fresh:
        fresh.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` as JSON, like ``write_atomic``."""
    write_atomic(path, json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """``content`` as the JSON that is kept in files."""
    return (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """A path beside ``target`` that takes its place at the end, on the disk before it has its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        yield fresh
        sync_path(fresh)
        os.replace(fresh, target)
        sync_path(target.parent)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def sync_path(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk. Some file systems know no such thing for folders."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)


def _copy(source: Path, target: Path) -> None:
    with _replacing(target) as path:
        shutil.copyfile(source, path)
