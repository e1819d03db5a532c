"""Compressed files and zip archives: what is inside, read without unpacking, and with bounds against bombs."""

from __future__ import annotations

import contextlib
import gzip
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from patent_embed.data.files import SUFFIXES, TEXT_SUFFIX, bare, is_hidden

DEEPEST = 5  # archives in archives
_BUFFER = 1 << 17
# Patents as text compress to a fifth, whole years of one another's copies to a fiftieth.
LARGEST_RATIO = 200
_SMALL = 256 << 20  # bytes that any archive may hold, whatever its ratio


class ArchiveError(Exception):
    """An archive that cannot be read."""


class TooLarge(ArchiveError):
    """An archive that holds far more than its size allows for."""


def is_gzip(head: bytes) -> bool:
    """Whether a file begins as one of gzip does."""
    return head.startswith(b"\x1f\x8b\x08")


def is_zip(head: bytes) -> bool:
    """Whether a file begins as a zip archive does, be it an empty one."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def without_gz(source: str) -> str:
    """A name without ``.gz``, in its own case."""
    return source[:-3] if source.lower().endswith(".gz") else source


class Budget:
    """How many bytes a file may be decompressed to, with all archives in it, at any depth: what one archive gives out
    is not what the next may be measured by, or each would hold two hundred times the one before."""

    def __init__(self, file: BinaryIO) -> None:
        """Measure the file as it lies there, and go back to its beginning."""
        self.allowed = max(_SMALL, LARGEST_RATIO * file.seek(0, io.SEEK_END))
        self.spent = 0
        file.seek(0)

    @property
    def left(self) -> int:
        """How many bytes may still come."""
        return self.allowed - self.spent

    def spend(self, count: int) -> None:
        """Count so many bytes. Raises TooLarge where they are too many."""
        self.spent += count
        if self.spent > self.allowed:
            raise TooLarge(f"more than {self.allowed:,} bytes inside, which no patents of this size have")


class _Bounded(io.RawIOBase):
    """A decompressing stream that refuses to give out more than its file's budget."""

    def __init__(self, stream: Any, budget: Budget) -> None:
        self._stream, self._budget = stream, budget

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = int(self._stream.readinto(buffer))
        self._budget.spend(count)
        return count

    def seek(self, offset: int, whence: int = 0) -> int:
        before = int(self._stream.tell())
        after = int(self._stream.seek(offset, whence))
        self._budget.spent -= max(0, before - after)
        return after

    def tell(self) -> int:
        return int(self._stream.tell())


@contextlib.contextmanager
def gunzipped(file: BinaryIO, budget: Budget) -> Iterator[BinaryIO]:
    """The content of a gzip file of any number of members, seekable.

    Raises:
        TooLarge: at a read, where the content is a bomb.
    """
    file.seek(0)
    with gzip.GzipFile(fileobj=file) as stream:
        yield cast(BinaryIO, io.BufferedReader(_Bounded(stream, budget), _BUFFER))


@dataclass(frozen=True)
class Member:
    """A file in a zip archive."""

    name: str
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    budget: Budget

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its content, seekable.

        Raises:
            ArchiveError: it is encrypted, or compressed in a way that cannot be read.
            TooLarge: at a read, where the archive is a bomb.
        """
        try:
            stream = self.archive.open(self.info)
        except (RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
            raise ArchiveError(str(error)) from None
        with stream:
            yield cast(BinaryIO, io.BufferedReader(_Bounded(stream, self.budget), _BUFFER))


def members(file: BinaryIO, budget: Budget) -> Iterator[Member]:
    """The files of a zip archive that may hold patents, in its order.

    Raises:
        ArchiveError: it is no archive, or there is no such file in it.
    """
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise ArchiveError(str(error)) from None
    with archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
        found = [info for info in infos if _may_hold_patents(info.filename)]
        if not found:
            raise ArchiveError(f"no file of a known kind among the {len(infos)} in it")
        for info in found:
            yield Member(info.filename, archive, info, budget)


def check_size(file: BinaryIO) -> None:
    """Look at a zip container that somebody else unpacks whole, such as a spreadsheet; any other file passes.

    Raises:
        TooLarge: its parts are far larger than its size allows for.
    """
    compressed_bytes = file.seek(0, io.SEEK_END)
    file.seek(0)
    if is_zip(file.read(4)):
        with contextlib.suppress(zipfile.BadZipFile, NotImplementedError, ValueError), zipfile.ZipFile(file) as archive:
            inside = sum(info.file_size for info in archive.infolist())
            if inside > max(_SMALL, LARGEST_RATIO * compressed_bytes):
                raise TooLarge(f"{inside:,} bytes inside, which no spreadsheet of this size has")
    file.seek(0)


def _may_hold_patents(name: str) -> bool:
    return bare(name).endswith((*SUFFIXES, TEXT_SUFFIX)) and not is_hidden(name)
