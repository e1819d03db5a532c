"""What reading a folder gives, before anything is made of it: counts, examples, and the fields that are not used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from patent_embed.data.fields import FieldNames, FieldUse, field_use
from patent_embed.data.inputs import PatentFiles
from patent_embed.data.reading import read_file
from patent_embed.data.records import Record, RecordParser

_EXAMPLES = 3
_MOST_KINDS = 5_000  # of records by their fields' names; where names are data, what comes later is not looked at
_SEEN = "fields: "  # before the names of fields in the detail of a reject


@dataclass
class Survey:
    """What was read.

    Attributes:
        layouts, encodings: of all records; an encoding is empty where the format has only one.
        languages: of the usable ones.
        reasons: of the rejects, and one reject of each.
        repeated: usable ones with the number of an earlier one.
        examples: the first usable ones.
    """

    names: FieldNames = field(default_factory=FieldNames)
    records: int = 0
    layouts: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    rejects: dict[str, Record] = field(default_factory=dict)
    repeated: int = 0
    examples: list[Record] = field(default_factory=list)
    _numbers: set[int] = field(default_factory=set)
    _kinds: Counter[tuple[str, ...]] = field(default_factory=Counter)

    def add(self, names: tuple[str, ...], record: Record) -> None:
        """Count a record. ``names``: of its fields in the source."""
        self.records += 1
        self.layouts[record.layout] += 1
        self.encodings[record.encoding] += 1
        if record.reason:
            self.reasons[record.reason] += 1
            self.rejects.setdefault(record.reason, record)
        else:
            self.languages[record.language] += 1
            self.repeated += hash(record.publication_number) in self._numbers
            self._numbers.add(hash(record.publication_number))
            if len(self.examples) < _EXAMPLES:
                self.examples.append(record)
        if names in self._kinds or len(self._kinds) < _MOST_KINDS:
            self._kinds[names] += 1

    def unused(self) -> tuple[Counter[str], dict[str, str]]:
        """Names of fields that mean nothing here, with the number of records that have them; and name → the field
        that it looks like, of those that are missed."""
        counts, near = Counter[str](), dict[str, str]()
        for names, records in self._kinds.items():
            use = field_use(names, self.names)
            counts.update(dict.fromkeys(use.unused, records))
            near |= dict(use.near)
        return counts, near


def read_all(
    parser: RecordParser, found: PatentFiles, most: int | None = None
) -> Iterator[tuple[tuple[str, ...], Record]]:
    """Every record of the files, rejects included, with the names of its fields.

    Names are those of records that have the program's own way to hold them: what a known API, office or format calls
    its fields is known.

    Args:
        most: records of each file, at most; None: all.
    """
    for file in found.files:
        for number, pair in enumerate(_read(parser, found, file.name)):
            if number == most:
                break
            yield pair


def _read(parser: RecordParser, found: PatentFiles, name: str) -> Iterator[tuple[tuple[str, ...], Record]]:
    for raw in read_file(name, found.root.opener(name)):
        for each in parser.unwrapped(raw):
            for record in parser.parse_raw(each):
                plain = "/" not in record.layout
                yield _names(each.fields) if plain else (), record


def _names(fields: Any) -> tuple[str, ...]:
    return tuple(map(str, fields)) if isinstance(fields, Mapping) else ()


def near_misses(details: Iterable[str], names: FieldNames) -> dict[str, str]:
    """Name → the field that it looks like, from what rejects say of the fields that they had."""
    near: dict[str, str] = {}
    for seen in dict.fromkeys(detail.rpartition(_SEEN)[2] for detail in details if _SEEN in detail):
        use: FieldUse = field_use(seen.split(", "), names)
        near |= dict(use.near)
    return near


def advice(near: Mapping[str, str]) -> list[str]:
    """What to do about near-misses: ``摘要文本 looks like an abstract: set data.fields.abstract=摘要文本``."""
    return [
        f"{name} looks like {_CALLED.get(canonical, canonical)}: set data.fields.{canonical}={name}"
        for name, canonical in near.items()
    ]


_CALLED = {
    "publication_number": "the publication number",
    "title": "a title",
    "abstract": "an abstract",
    "classifications": "classification codes",
    "claims": "the claims",
    "description": "a description",
    "citations": "citations",
    "family_id": "the family",
    "publication_date": "the date of publication",
    "applicants": "the applicants",
}
