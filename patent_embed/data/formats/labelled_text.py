"""Texts with labels, as scrapers write them: ``Title: ...`` and ``Abstract: ...``, or lines of ``id-… abstract-…``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from patent_embed.data.encodings import decode, lines_of, sniff
from patent_embed.data.formats.base import Format
from patent_embed.data.labelled import labelled_records
from patent_embed.data.raw import RawRecord, rejected

_PAIRS = re.compile(r"(?:^|\s+)(id|number|title|abstract|ipc|cpc|claims?)-(?=\S|\s*$)")
_TAGGED_LINE = re.compile(r"id-[A-Z]{2}\d{4,}\S*\s+(?:title|abstract)-")
_NEEDED = {"title", "abstract"}


class LabelledText(Format):
    """One patent a file, or several after one another."""

    name: ClassVar[str] = "labelled_text"
    order: ClassVar[int] = 80
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)

    def recognises(self, name: str, head: bytes) -> bool:
        """By a line with an id and an abstract, or by labels of a title and an abstract, which no table has."""
        encoding = sniff(head, cut=True)
        if encoding is None or name.endswith((".csv", ".tsv", ".xls")):
            return False
        text = head.decode(encoding, "replace").lstrip("\ufeff")
        return _TAGGED_LINE.match(text) is not None or any(
            fields.keys() >= _NEEDED for _, fields in labelled_records(text)
        )

    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The records, by the line in which they begin where there are several."""
        content = file.read()
        decoded = decode(content)
        if decoded is None:
            yield rejected(source, "bad_encoding", f"no known encoding is sure, starts with {content[:8]!r}")
            return
        text, encoding = decoded
        if _TAGGED_LINE.match(text):
            for number, line in enumerate(lines_of(text), start=1):
                if line.strip():
                    yield RawRecord(f"{source}:{number}", _tagged(line), encoding=encoding)
            return
        records = labelled_records(text)
        place, before = 1, 0
        for begins, fields in records:
            place, before = place + text.count("\n", before, begins), begins
            yield RawRecord(source if len(records) == 1 else f"{source}:{place}", fields, encoding=encoding)


def _tagged(line: str) -> dict[str, str]:
    """``id-CN1A    abstract-…`` → its fields: a name that comes again is part of the text before."""
    fields: dict[str, str] = {}
    marks: list[tuple[str, int, int]] = []
    for match in _PAIRS.finditer(line):
        if match[1] not in {name for name, _, _ in marks}:
            marks.append((match[1], match.start(), match.end()))
    for (name, _, begins), (_, ends, _) in zip(marks, [*marks[1:], ("", len(line), 0)], strict=True):
        fields[name] = line[begins:ends].strip()
    return fields


LABELLED_TEXT = LabelledText()
