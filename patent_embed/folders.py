"""Folders in an object store (``s3://``, ``gs://``, ``hdfs://``), through pyarrow's file systems.

A step works in a scratch folder of its machine and is copied to the store when it is finished, its manifest last: a
store has no rename, so the manifest's arrival is what makes an artifact. Readers on any machine copy what they need
into a scratch folder of their own, named by the manifest.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from patent_embed.errors import UserError


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def write_json(path: Path, content: Any) -> None:
    write_atomic(path, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


SCHEMES = ("s3", "gs", "gcs", "hdfs", "abfs", "abfss")


def is_remote(address: str | Path) -> bool:
    """Whether ``address`` names a place in a store; a path of this machine does not."""
    return isinstance(address, str) and "://" in address


def scratch(name: str) -> Path:
    """A folder of this machine for copies, one for each ``name`` and user."""
    return Path(tempfile.gettempdir()) / f"patent_embed-{os.getuid()}" / name


@dataclass(frozen=True)
class Entry:
    """A file below a folder: its name there, its bytes, and when it was last written."""

    name: str
    size: int
    mtime_ns: int


class RemoteFolder:
    """The folder at ``uri``. Options of the file system may follow it: ``s3://bucket/folder?region=eu-west-1``."""

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        if parts.scheme not in SCHEMES:
            known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
            raise UserError(f"{uri!r} is in no store that can be read; use one of {known}, or a local path")
        if parts.password is not None:
            raise UserError(
                f"the {parts.scheme}:// address holds a password, which would be written into logs and reports; give "
                "the credentials in the environment (AWS_ACCESS_KEY_ID, ...) or by the machine's role"
            )
        self.uri = uri
        try:
            self.filesystem, self.path = fs.FileSystem.from_uri(uri)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{uri!r} cannot be opened: {str(error).splitlines()[0]}") from None

    def __truediv__(self, name: str) -> RemoteFolder:
        parts = urlsplit(self.uri)
        return RemoteFolder(parts._replace(path=f"{parts.path.rstrip('/')}/{name}").geturl())

    def __str__(self) -> str:
        return self.uri

    @property
    def name(self) -> str:
        return PurePosixPath(self.path).name

    @property
    def parent(self) -> RemoteFolder:
        parts = urlsplit(self.uri)
        return RemoteFolder(parts._replace(path=str(PurePosixPath(parts.path).parent)).geturl())

    def size(self, name: str) -> int | None:
        """Bytes of a file; None when there is no such file."""
        info = self.filesystem.get_file_info(f"{self.path}/{name}")
        return info.size if info.type == fs.FileType.File else None

    def entries(self) -> list[Entry]:
        """All files at any depth, by name. An absent folder has none."""
        selector = fs.FileSelector(self.path, recursive=True, allow_not_found=True)
        try:
            found = self.filesystem.get_file_info(selector)
        except OSError as error:
            raise UserError(f"{self.uri!r} cannot be read: {str(error).splitlines()[0]}") from None
        return sorted(
            (
                Entry(str(PurePosixPath(info.path).relative_to(self.path)), info.size, info.mtime_ns or 0)
                for info in found
                if info.type == fs.FileType.File
            ),
            key=lambda entry: entry.name,
        )

    def open(self, name: str) -> BinaryIO:
        """A file to read from, and to seek in."""
        return cast(BinaryIO, io.BufferedReader(self.filesystem.open_input_file(f"{self.path}/{name}")))

    def read(self, name: str) -> bytes | None:
        """A file's content; None when there is no such file."""
        try:
            with self.filesystem.open_input_stream(f"{self.path}/{name}") as stream:
                return cast(bytes, stream.read())
        except FileNotFoundError:
            return None

    def fetch(self, name: str, target: Path) -> None:
        """Copy one file here. The file appears whole, whoever else fetches it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
        fs.copy_files(f"{self.path}/{name}", str(fresh), self.filesystem, fs.LocalFileSystem())
        os.replace(fresh, target)

    def fetch_folder(self, name: str, target: Path) -> None:
        """Copy all files below the folder ``name`` to ``target``."""
        for entry in (self / name if name else self).entries():
            self.fetch(f"{name}/{entry.name}" if name else entry.name, target / entry.name)

    def put(self, source: Path, name: str = "") -> None:
        """Copy a file, or all files below a folder, to ``name``."""
        target = f"{self.path}/{name}" if name else self.path
        if not source.is_dir():
            fs.copy_files(str(source), target, fs.LocalFileSystem(), self.filesystem)
            return
        for path in sorted(source.rglob("*")):
            if path.is_file():
                inside = path.relative_to(source).as_posix()
                fs.copy_files(str(path), f"{target}/{inside}", fs.LocalFileSystem(), self.filesystem)

    def delete(self, name: str = "") -> None:
        """Remove a file, or a folder with all that is in it; it may be absent."""
        target = f"{self.path}/{name}" if name else self.path
        kind = self.filesystem.get_file_info(target).type
        if kind == fs.FileType.Directory:
            self.filesystem.delete_dir(target)
        elif kind == fs.FileType.File:
            self.filesystem.delete_file(target)


def local_folder(address: str, target: Path) -> Path:
    """The folder at ``address``: itself on this machine, otherwise a copy of it in ``target``."""
    if not is_remote(address):
        return Path(address)
    RemoteFolder(address).fetch_folder("", target)
    return target
