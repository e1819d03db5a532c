"""Large files of JSON lines in pieces, which workers read at the same time.

A line belongs to the piece in which it begins. Its place is the byte at which it begins (``a.jsonl@1048576``), for
nobody counts the lines before a piece. Where a file is cut depends on its size alone, so that the same file gives the
same records whoever reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from patent_embed.data import archives
from patent_embed.data.encodings import SAMPLE_BYTES, LineDecoder, sniff
from patent_embed.data.formats.base import HEAD_BYTES
from patent_embed.data.formats.json import JSON, are_values, of_line
from patent_embed.data.raw import RawRecord
from patent_embed.data.reading import format_of, unreadable

CUT_FROM = 256 << 20  # bytes: smaller files are read whole
PIECE_BYTES = 64 << 20


class Piece(NamedTuple):
    """A file, or the lines of it that begin between two bytes.

    Attributes:
        name: below the data root.
        begin, end: 0 for ``end`` is the whole file.
    """

    name: str
    begin: int = 0
    end: int = 0


def pieces_of(name: str, size: int, opened: Callable[[], BinaryIO]) -> list[Piece]:
    """The pieces in which a file of ``size`` bytes is read: one, or many where it is large and has JSON lines."""
    if size < CUT_FROM or not _has_lines(name, opened):
        return [Piece(name)]
    return [Piece(name, begin, min(begin + PIECE_BYTES, size)) for begin in range(0, size, PIECE_BYTES)]


def read_piece(piece: Piece, opened: Callable[[], BinaryIO]) -> Iterator[RawRecord]:
    """The records of a piece of a file that is cut, rejects included."""
    decoder = LineDecoder()
    try:
        with opened() as file:
            if piece.begin:
                file.seek(piece.begin - 1)
                file.readline()
            place = file.tell()
            while place < piece.end and (line := file.readline()):
                for raw in of_line(line, f"{piece.name}@{place}", "", decoder):
                    raw.format = JSON.name
                    yield raw
                place += len(line)
    except OSError as error:
        yield unreadable(f"{piece.name}@{piece.begin}", error)


def _has_lines(name: str, opened: Callable[[], BinaryIO]) -> bool:
    """Whether a file is lines of JSON that can be told apart by their bytes."""
    try:
        with opened() as file:
            beginning = file.read(SAMPLE_BYTES)
    except OSError:
        return False
    if archives.is_gzip(beginning) or format_of(name, beginning[:HEAD_BYTES]) is not JSON:
        return False
    wide = (sniff(beginning, cut=True) or "").startswith(("utf-16", "utf-32"))
    return not wide and are_values(beginning[: beginning.rfind(b"\n") + 1].split(b"\n"))
