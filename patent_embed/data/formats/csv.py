"""Tables as text: CSV and TSV with any delimiter, in any encoding, with lines above the header and torn quotes.

A row whose quote is never closed would swallow the rest of the file: it is read again by itself, without quotes, and is
a ``torn_row`` where that gives another number of cells than the header has.
"""

from __future__ import annotations

import csv
import io
import itertools
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from patent_embed.data.encodings import SAMPLE_BYTES, sniff, sniff_by_lines
from patent_embed.data.formats.base import Format
from patent_embed.data.raw import RawRecord, rejected
from patent_embed.data.tables import MOST_ROWS_ABOVE, fields_of, header_among, header_names, is_blank, known_names

_DELIMITERS = (",", "\t", ";", "|", "\x01", "，", "；", "^", "~")
_LONGEST_CELL = 1 << 27  # characters; Python's own bound is 131,072, less than many descriptions
_MOST_LINES = 20_000  # of one row; a description has fewer
_LOOKED_AT = 1 << 16  # characters of a line that tell the delimiter
_LEAST_NAMES = 2  # in a header, by which a text without a suffix is known to be a table


class Csv(Format):
    """CSV, TSV and their kin: the first row with names that are known is the header."""

    name: ClassVar[str] = "csv"
    order: ClassVar[int] = 90
    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab")

    def recognises(self, name: str, head: bytes) -> bool:
        """By names of fields in one of the first lines. A suffix alone does for the rest."""
        encoding = sniff(head, cut=True)
        if encoding is None:
            return False
        lines = head.decode(encoding, "replace").splitlines()[:MOST_ROWS_ABOVE]
        return _delimiter(lines)[1] >= _LEAST_NAMES

    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The rows below the header, by the number of their first line."""
        sample = file.read(SAMPLE_BYTES)
        encoding = sniff(sample, cut=len(sample) == SAMPLE_BYTES) or sniff_by_lines(sample)
        if encoding is None:
            yield rejected(source, "bad_encoding", f"no known encoding is sure, starts with {sample[:8]!r}")
            return
        file.seek(0)
        # Bytes that are none of the encoding stay as lone surrogates: their row is a reject, and the others are read.
        text = io.TextIOWrapper(file, encoding, "surrogateescape", newline="")
        csv.field_size_limit(_LONGEST_CELL)
        try:
            yield from _records(_Rows(text), source, encoding.removesuffix("-sig"))
        finally:
            text.detach()


def _records(rows: _Rows, source: str, encoding: str) -> Iterator[RawRecord]:
    names = rows.find_header()
    for line, cells in rows:
        place = f"{source}:{line}"
        if cells is None:
            yield rejected(place, "torn_row", f"a quote is not closed; {len(names)} columns: {', '.join(names)}")
        elif not is_blank(cells):
            if any(_has_bad_bytes(cell) for cell in cells):
                yield rejected(place, "bad_encoding", f"not {encoding}, as the lines before it")
            else:
                yield RawRecord(place, fields_of(names, cells), encoding=encoding)


def _has_bad_bytes(cell: str) -> bool:
    if cell.isascii() or cell.isprintable():
        return False
    return any("\udc80" <= char <= "\udcff" for char in cell)


def _delimiter(lines: list[str]) -> tuple[str, int]:
    """The delimiter of a text's first lines, and how many names of fields the best line has with it."""
    best, most, widest = ",", 0, 0
    for delimiter in _DELIMITERS:
        for line in lines:
            cells = next(csv.reader([line[:_LOOKED_AT].strip("\ufeff")], delimiter=delimiter), [])
            key = (known_names(cells) if len(cells) > 1 else 0, len(cells) if not most else 0)
            if key > (most, widest):
                best, (most, widest) = delimiter, key
    return best, most


class _Rows:
    """Rows of a text as (number of the first line, cells), in which a torn row is None or read without quotes."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._waiting: deque[str] = deque()  # lines that are to be read (again)
        self._taken: list[str] = []  # lines of the row that is being read
        self._line = 0
        self._columns = 0
        self._delimiter = ","
        self._again: deque[tuple[int, list[str]]] = deque()  # rows below the header that were looked at to find it

    def find_header(self) -> list[str]:
        """Reads to the header's end; its names."""
        first = list(itertools.islice(self._text, MOST_ROWS_ABOVE))
        if first and first[0].lower().strip("\ufeff \r\n").startswith("sep="):  # a line for Excel
            self._delimiter = first[0].strip("\ufeff \r\n")[4:5] or ","
            self._line, first = 1, first[1:]
        else:
            self._delimiter = _delimiter(first)[0]
        self._waiting.extend(first)
        seen = []
        for number, cells in self:
            seen.append((number, cells or []))
            if len(seen) >= MOST_ROWS_ABOVE or known_names(cells or []) > _LEAST_NAMES:
                break
        header = header_among(seen)
        if header is None:
            return []
        self._again = deque(seen[header + 1 :])
        names = header_names(seen[header][1])
        self._columns = len(names)
        return names

    def __iter__(self) -> Iterator[tuple[int, list[str] | None]]:
        while self._again:
            yield self._again.popleft()
        while True:
            begins = self._line + 1
            self._taken = []
            try:
                cells = next(csv.reader(self._lines(), delimiter=self._delimiter), None)
            except csv.Error:
                cells, torn = [], True
            else:
                torn = len(self._taken) > 1 and not self._is_sound()
            if cells is None:
                return
            if torn:
                self._waiting.extendleft(reversed(self._taken[1:]))
                self._line = begins
                yield begins, self._without_quotes(self._taken[0])
            else:
                yield begins, cells

    def _lines(self) -> Iterator[str]:
        """Lines for one row; csv takes as many as the row has."""
        while len(self._taken) < _MOST_LINES:
            line = self._waiting.popleft() if self._waiting else next(self._text, "")
            if not line:
                return
            self._line += 1
            self._taken.append(line)
            yield line
        raise csv.Error("too many lines in a row")

    def _is_sound(self) -> bool:
        """Whether a row of several lines closes each quote where a cell ends: no row has swallowed another."""
        try:
            rows = list(csv.reader(self._taken, delimiter=self._delimiter, strict=True))
        except csv.Error:
            return False
        return len(rows) == 1

    def _without_quotes(self, line: str) -> list[str] | None:
        cells = next(csv.reader([line], delimiter=self._delimiter, quoting=csv.QUOTE_NONE), [])
        return cells if len(cells) == self._columns > 1 else None


CSV = Csv()
