"""US grants of 1976 to 2001 as labelled text ("Green Book", APS): a label of three letters and its text on each line.

A patent begins with the line ``PATN``; lines of four letters alone begin a part (``ABST``, ``CLMS``); lines that begin
with blanks go on with the one before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar

from patent_embed.data.formats.base import Format
from patent_embed.data.raw import RawRecord, rejected
from patent_embed.data.xml_fields import distinct, filled, publication_number

MAX_LINE = 1 << 16  # bytes; the lines have 80 columns
MAX_RECORD = 64 << 20  # bytes
_BEGINNING = re.compile(rb"(?:HHHHHT[^\n]*\n)?PATN *\r?\nWKU ")
_LINE = re.compile(r"([A-Z][A-Z0-9]{2})  ?(\S.*)|([A-Z]{4})\s*$")
# Class and subclass in four columns, the main group in three, then the subgroup: "H04M 1100" is H04M11/00.
_SYMBOL = re.compile(r"([A-H]\d\d[A-Z])([ \d]{2}\d)(\d{2,})")
_KINDS = {"": "A", "D": "S", "PP": "P", "RE": "E", "H": "H"}  # by the letters of the number
_MARKS = {
    **dict(
        zip(("alpha", "beta", "gamma", "delta", "epsilon", "lambda", "mu", "pi", "omega"), "αβγδελμπω", strict=True)
    ),
    **dict(zip(("degree", "times", "multidot", "gtoreq", "ltoreq", "about", "plusmn"), "°×·≥≤~±", strict=True)),
    **dict.fromkeys(("sub", "sup"), ""),
}
_MARK = re.compile(rf"\.({'|'.join(_MARKS)})\.")


@dataclass
class _Parts:
    """One patent: part → its lines as (label, pieces of text), in order; a part may stand there several times."""

    parts: list[tuple[str, list[tuple[str, list[str]]]]] = field(default_factory=list)

    def add(self, line: str) -> None:
        found = _LINE.match(line)
        if found and found[3]:
            self.parts.append((found[3], []))
        elif self.parts and found:
            self.parts[-1][1].append((found[1], [found[2].strip()]))
        elif self.parts and line.startswith(" ") and self.parts[-1][1]:
            self.parts[-1][1][-1][1].append(line.strip())

    def lines(self, *parts: str) -> Iterator[tuple[str, str]]:
        """Lines of these parts."""
        return ((label, " ".join(text)) for name, lines in self.parts if name in parts for label, text in lines)

    def first(self, part: str, label: str) -> str:
        """The first text of a label in a part."""
        return next((text for name, text in self.lines(part) if name == label), "")


def us_number(number: str) -> str:
    """``03932709`` → ``US3932709A``; the kind is told by the letters before: ``D0238901`` → ``USD238901S``."""
    plain = publication_number("US", number, "")
    found = re.match(r"US([A-Z]*)", plain)
    return plain + _KINDS.get(found[1], "") if found else ""


def fields(lines: Iterable[str]) -> dict[str, Any]:
    """The fields of one patent from its lines."""
    patent = _Parts()
    for line in lines:
        patent.add(line)
    number = patent.first("PATN", "WKU")
    cited = [us_number(text) for label, text in patent.lines("UREF") if label == "PNO"]
    for part, found in patent.parts:
        if part == "FREF":
            foreign = {label: text[0] for label, text in found}
            cited.append(publication_number(foreign.get("CNT", "")[:2], foreign.get("PNO", ""), ""))
    return filled(
        {
            "publication_number": us_number(number[:8]),  # the ninth is a check digit
            "title": _plain(patent.first("PATN", "TTL")),
            "abstract": _plain(" ".join(text for label, text in patent.lines("ABST") if label.startswith("PA"))),
            "classifications": distinct(_symbol(text) for label, text in patent.lines("CLAS") if label == "ICL"),
            "claims": _claims(patent),
            "description": [_plain(text) for _, text in patent.lines("PARN", "BSUM", "DRWD", "DETD")],
            "citations": distinct(cited),
            "publication_date": patent.first("PATN", "ISD"),
            "applicants": distinct(text for label, text in patent.lines("ASSG") if label == "NAM"),
        }
    )


def _symbol(code: str) -> str:
    found = _SYMBOL.fullmatch(code)
    return f"{found[1]}{found[2].strip()}/{found[3]}" if found else code


def _claims(patent: _Parts) -> list[str]:
    """A claim begins with its number on a line of its own (``NUM``); a design has one without."""
    claims: list[list[str]] = [[]]
    for label, text in patent.lines("CLMS", "DCLM"):
        if label == "NUM":
            claims.append([])
        elif label.startswith("PA"):
            claims[-1].append(text)
    return [_plain(" ".join(claim)) for claim in claims if claim]


def _plain(text: str) -> str:
    """Marks for what typewriters lack become characters: ``10.degree. C.``, ``CO.sub.2``."""
    return _MARK.sub(lambda found: _MARKS[found[1]], text)


class UsptoText(Format):
    """Labelled text of the USPTO."""

    name: ClassVar[str] = "uspto_text"
    order: ClassVar[int] = 22

    def recognises(self, name: str, head: bytes) -> bool:
        """By its first two lines."""
        return _BEGINNING.match(head) is not None

    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The patents of a file; ``source`` gets their number, from 0, in brackets."""
        number, size = -1, 0
        lines: list[bytes] = []
        while line := file.readline(MAX_LINE):
            if line.strip() == b"PATN":
                if number >= 0:
                    yield _record(lines, size, f"{source}[{number}]")
                number, size, lines = number + 1, 0, []
            size += len(line)
            if size <= MAX_RECORD:
                lines.append(line)
        if number >= 0:
            yield _record(lines, size, f"{source}[{number}]")


def _record(lines: list[bytes], size: int, where: str) -> RawRecord:
    if size > MAX_RECORD:
        return rejected(where, "torn_row", f"longer than {MAX_RECORD >> 20} MB")
    try:
        text = b"".join(lines).decode()
    except UnicodeDecodeError as error:
        return rejected(where, "bad_encoding", f"neither ASCII nor UTF-8: {error}")
    return RawRecord(where, fields(text.split("\n")), encoding="utf-8")


USPTO_TEXT = UsptoText()
