"""A stream of XML documents cut into its documents, before anything parses it.

Offices publish one file with thousands of documents, either one after the other, each with its own XML declaration
(which is no XML file at all), or as children of one root of several gigabytes. A parser that reads the whole stops at
the first broken document; here each is cut out by the bytes of its start and end tag, so that a broken one is lost
alone, and no more than one is in memory.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

MAX_DOCUMENT = 64 << 20  # bytes; the longest patents (sequence listings, long tables) have some 20 MB
MAX_GAP = 1 << 20  # bytes before a document that are looked at for its declarations
CHUNK = 1 << 18
_OVERLAP = 512  # a tag that two chunks share is found if its name and prefix are shorter
_EMPTY = re.compile(rb"<[^<>]*/>")
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (b"<\0?\0", "utf-16-le"),
    (b"\0<\0?", "utf-16-be"),
)


@dataclass(frozen=True)
class Piece:
    """One document as it stands in the file.

    Attributes:
        content: its bytes, from ``<`` of its start tag to ``>`` of its end tag; empty with a ``problem``.
        gap: what stands before it and after the one before: declarations, or the root's start tag.
        problem: why it cannot be read.
    """

    content: bytes = b""
    gap: bytes = b""
    problem: str = ""


@dataclass
class _Cutter:
    """The state of one pass over a stream: ``buffer`` holds what is not yet given out."""

    start: re.Pattern[bytes]
    edge: re.Pattern[bytes]  # an end tag, a start tag, or an XML declaration
    limit: int
    buffer: bytes = b""
    gap: bytes = b""
    seen: int = 0  # so much of the buffer holds nothing new
    name: str = ""  # of the document that has begun; empty between documents
    dropping: bool = False  # the document that has begun is too long
    pieces: list[Piece] = field(default_factory=list)

    def feed(self, chunk: bytes, last: bool = False) -> Iterator[Piece]:
        self.buffer += chunk
        while self._between(last) if not self.name else self._inside(last):
            pass
        if last and self.name and not self.dropping:
            self._give(problem=f"the file ends before </{self.name}>")
        yield from self.pieces
        self.pieces.clear()

    def _give(self, content: bytes = b"", problem: str = "") -> None:
        self.pieces.append(Piece(content, self.gap, problem))
        self.gap = b""

    def _between(self, last: bool) -> bool:
        """To the start tag of the next document. False: more bytes are needed."""
        found = self.start.search(self.buffer, self.seen)
        if found is None:
            keep = 0 if last else _OVERLAP
            cut = max(len(self.buffer) - keep, 0)
            self.gap = (self.gap + self.buffer[:cut])[-MAX_GAP:]
            self.buffer, self.seen = self.buffer[cut:], 0
            return False
        self.gap = (self.gap + self.buffer[: found.start()])[-MAX_GAP:]
        self.buffer, self.seen = self.buffer[found.start() :], found.end() - found.start()
        self.name, self.dropping = found[1].decode(), False
        return True

    def _inside(self, last: bool) -> bool:
        """To the end of the document that has begun. False: more bytes are needed."""
        if not self.dropping and self._is_empty():
            return True
        found = self.edge.search(self.buffer, self.seen)
        if found is None:
            self.seen = max(self.seen, len(self.buffer) - _OVERLAP)
            if len(self.buffer) > self.limit and not self.dropping:
                self._give(problem=f"longer than {self.limit >> 20} MB")
                self.dropping = True
            if self.dropping:
                self.buffer, self.seen = self.buffer[self.seen :], 0
            return False
        ends = found[0].startswith(b"</")
        if not self.dropping:
            if not ends:
                self._give(problem=f"the next document begins before </{self.name}>")
            elif found.end() > self.limit:
                self._give(problem=f"longer than {self.limit >> 20} MB")
            else:
                self._give(self.buffer[: found.end()])
        self.buffer = self.buffer[found.end() if ends else found.start() :]
        self.seen, self.name, self.dropping = 0, "", False
        return True

    def _is_empty(self) -> bool:
        """A document without content, ``<exchange-document .../>``, as deleted ones are in DOCDB."""
        found = _EMPTY.match(self.buffer)
        if found is None:
            return False
        self._give(self.buffer[: found.end()])
        self.buffer, self.seen, self.name = self.buffer[found.end() :], 0, ""
        return True


def pieces(file: BinaryIO, names: Sequence[str], limit: int = MAX_DOCUMENT) -> Iterator[Piece]:
    """The documents of a stream, in order; each broken or too long one once, with its problem.

    Args:
        file: the stream, in any encoding that keeps ASCII as it is, or in UTF-16 or UTF-32.
        names: local names of the elements that are documents; any prefix is allowed.
        limit: longest document, bytes.

    Raises:
        UnicodeDecodeError: the stream is UTF-16 or UTF-32 and broken.
        OSError, EOFError, zlib.error: whatever reading raises.
    """
    either = b"|".join(re.escape(name.encode()) for name in names)
    start = re.compile(rb"<((?:[\w.-]{1,64}:)?(?:" + either + rb"))(?=[\s/>])")
    edge = re.compile(rb"</(?:[\w.-]{1,64}:)?(?:" + either + rb")\s*>|<\?xml\s|" + start.pattern)
    cutter = _Cutter(start, edge, limit)
    for chunk in _chunks(file):
        yield from cutter.feed(chunk)
    yield from cutter.feed(b"", last=True)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The stream in chunks of bytes that keep ASCII as it is: UTF-16 and UTF-32 become UTF-8."""
    chunk = file.read(CHUNK)
    encoding = next((name for mark, name in _BOMS if chunk.startswith(mark)), "")
    if not encoding:
        while chunk:
            yield chunk
            chunk = file.read(CHUNK)
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    while chunk:
        yield decoder.decode(chunk).encode()
        chunk = file.read(CHUNK)
    yield decoder.decode(b"", final=True).encode()
