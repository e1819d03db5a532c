"""Files to raw records: opens archives, asks the formats whose content it is, and lets nothing escape.

Whatever the bytes are, what comes out is raw records and rejects; a file that breaks while it is read gives those
before the break and one reject for the rest.
"""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO

import pyarrow as pa

from patent_embed.data import archives
from patent_embed.data.formats.base import FORMATS, HEAD_BYTES, Format
from patent_embed.data.raw import RawRecord, rejected

READ_ERRORS = (OSError, EOFError, zlib.error, pa.ArrowException, archives.ArchiveError)


def read_file(name: str, opened: Callable[[], BinaryIO]) -> Iterator[RawRecord]:
    """All records of a file, rejects included.

    Args:
        name: what ``RawRecord.source`` begins with; its suffix tells the format where the content does not.
        opened: opens it. What a network loses raises here; what is wrong with the file becomes a reject.
    """
    try:
        with opened() as file:
            yield from _read(file, name, archives.Budget(file), 0)
    except READ_ERRORS as error:
        yield unreadable(name, error)
    except Exception as error:  # noqa: BLE001 - parsers raise what they do not document: a file is lost, not the run
        yield unreadable(name, error)


def format_of(name: str, head: bytes) -> Format | None:
    """The format that knows the content, else the one that the suffix means.

    Args:
        name: of the file, without ``.gz``.
        head: its first ``HEAD_BYTES``, decompressed.
    """
    lower = name.lower()
    for each in FORMATS:
        if each.recognises(lower, head):
            return each
    return next((each for each in FORMATS if lower.endswith(each.suffixes or ("\0",))), None)


def unreadable(name: str, error: Exception) -> RawRecord:
    """The reject that a file becomes of which ``error`` was raised."""
    reason = "archive_too_large" if isinstance(error, archives.TooLarge) else "unreadable_file"
    return rejected(name, reason, f"{type(error).__name__}: {error}")


def _read(file: BinaryIO, source: str, budget: archives.Budget, depth: int) -> Iterator[RawRecord]:
    head = file.read(HEAD_BYTES)
    if archives.is_gzip(head) and depth < archives.DEEPEST:
        with archives.gunzipped(file, budget) as inside:
            yield from _read(inside, source, budget, depth + 1)
        return
    if len(head) < HEAD_BYTES:
        file = io.BytesIO(head)
    else:
        file.seek(0)
    bare = archives.without_gz(source)
    found = format_of(bare, head)
    if found is not None:
        for raw in found.read_within(file, source, budget):
            raw.format = raw.format or found.name
            yield raw
    elif archives.is_zip(head) and depth < archives.DEEPEST:
        yield from _members(file, source, budget, depth)
    else:
        yield rejected(source, "unreadable_file", f"of no known format, starts with {head[:8]!r}")


def _members(file: BinaryIO, source: str, budget: archives.Budget, depth: int) -> Iterator[RawRecord]:
    """The records of all files in a zip archive that have a known suffix."""
    for member in archives.members(file, budget):
        name = f"{source}!{member.name}"
        try:
            with member.open() as inside:
                yield from _read(inside, name, budget, depth + 1)
        except archives.TooLarge:
            raise
        except READ_ERRORS as error:
            yield unreadable(name, error)
        except Exception as error:  # noqa: BLE001 - as in read_file: one file of the archive is lost
            yield unreadable(name, error)


def knows(name: str, opened: Callable[[], BinaryIO]) -> bool:
    """Whether a format knows the content of a file, whatever its suffix; False where it cannot be read."""
    try:
        with opened() as file, contextlib.ExitStack() as stack:
            head = file.read(HEAD_BYTES)
            if archives.is_gzip(head):
                head = stack.enter_context(archives.gunzipped(file, archives.Budget(file))).read(HEAD_BYTES)
            lower = archives.without_gz(name).lower()
            return any(each.recognises(lower, head) for each in FORMATS)
    except READ_ERRORS:
        return False
