"""Patent records: raw records to patents, and to rejects with a reason.

Nothing here raises for bad data: a file, line or record that cannot be used becomes a row with its reason.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa

from patent_embed import ipc
from patent_embed.data.classifications import classification_text
from patent_embed.data.cleaning import SURROGATE, clean_abstract, clean_text, detect_language
from patent_embed.data.fields import REQUIRED, FieldNames, value_at
from patent_embed.data.formats.json import JSON
from patent_embed.data.kept import Limits, kept_fields
from patent_embed.data.markup import without_markup
from patent_embed.data.numbers import publication_number
from patent_embed.data.placeholders import is_placeholder, says_nothing
from patent_embed.data.raw import RawRecord
from patent_embed.data.reading import read_file
from patent_embed.data.schemas import RECORDS
from patent_embed.data.shapes.base import Shape, shape_of
from patent_embed.data.shapes.plain import PLAIN
from patent_embed.data.values import text_of, unfold

_LONGEST_DETAIL = 300
_LONGEST_CODES = 120  # characters of a text without a code that its reject shows
_DEEPEST_ENVELOPE = 4
_ONLY_SEARCHED = frozenset(("publication_number", "title", "abstract", "classifications", "application_number"))


@dataclass(slots=True)
class Record:
    """One parsed record.

    Attributes:
        source: file, and line or place in it.
        claims, description, citations, citation_categories, family_id, publication_date, applicants: None where the
            source has none.
        reason: empty for a usable patent, otherwise one of ``raw.REASONS``, with its ``detail`` for people.
        cut_chars: by how many characters the abstract was too long.
        layout: names of the format and of the shape that it was read by: ``json/lens``, ``csv``.
        encoding: of its file, where the format had to find it out.
    """

    source: str
    publication_number: str = ""
    title: str = ""
    abstract: str = ""
    codes: list[str] = field(default_factory=list)
    indexing_codes: list[str] = field(default_factory=list)
    language: str = ""
    claims: list[str] | None = None
    description: str | None = None
    citations: list[str] | None = None
    citation_categories: list[str] | None = None
    family_id: str | None = None
    publication_date: str | None = None
    applicants: list[str] | None = None
    reason: str = ""
    detail: str = ""
    cut_chars: int = 0
    layout: str = ""
    encoding: str = ""

    def reject(self, reason: str, detail: str = "") -> Record:
        """This record as one that cannot be used; ``reason`` is one of ``raw.REASONS``, ``detail`` is for people."""
        self.reason, self.detail = reason, SURROGATE.sub("", detail)[:_LONGEST_DETAIL]
        return self


@dataclass(frozen=True)
class RecordParser:
    """Turns files into records.

    Args:
        min_abstract_chars: shorter abstracts are rejected.
        max_abstract_chars: longer abstracts are cut; ``cut_chars`` says by how much.
        names: which of a source's fields the user named.
        max_claims_chars, max_description_chars: so much is kept of them; 0: nothing.
    """

    min_abstract_chars: int = 20
    max_abstract_chars: int = 20_000
    names: FieldNames = field(default=FieldNames(), kw_only=True)
    max_claims_chars: int = field(default=20_000, kw_only=True)
    max_description_chars: int = field(default=4000, kw_only=True)
    duplicate_reason: ClassVar[str] = "duplicate_publication_number"
    _kept: ClassVar[bool] = True  # whether what is not searched is read, too

    def parse_file(self, path: Path, name: str, opened: Callable[[], BinaryIO] | None = None) -> Iterator[Record]:
        """All records of one file, rejects included.

        ``name`` is what ``source`` calls the file; ``opened`` opens it where it is not on this machine.
        """
        for raw in read_file(name, opened or (lambda: path.open("rb"))):
            yield from self.parse_raw(raw)

    def parse_document(self, content: bytes, source: str) -> Iterator[Record]:
        """The records of JSON in memory: an object, a list of objects, or lines of either."""
        for raw in JSON.read(io.BytesIO(content), source):
            yield from self.parse_raw(raw)

    def parse_raw(self, raw: RawRecord) -> Iterator[Record]:
        """The records of what a format read: one, or those in an envelope."""
        for each in self.unwrapped(raw):
            record = self.parse_record(each.fields, each.source) if not each.reason else _rejected(each)
            record.encoding = raw.encoding
            record.layout = f"{raw.format}/{record.layout}" if record.layout else raw.format
            yield record

    def unwrapped(self, raw: RawRecord, depth: int = 0) -> Iterator[RawRecord]:
        """The raw record itself, or those inside where it is an answer of an API, a search engine or pandas."""
        fields = raw.fields
        if type(fields) is str and isinstance(unfolded := unfold(fields), Mapping):  # JSON in a string, a line each
            fields = raw.fields = unfolded
        if raw.reason or not isinstance(fields, Mapping) or depth >= _DEEPEST_ENVELOPE or self.is_one(fields):
            yield raw
            return
        inside = shape_of(fields).inner(fields)
        if inside is None:
            yield raw
            return
        for place, value in inside:
            yield from self.unwrapped(
                RawRecord(f"{raw.source}{place}", value, format=raw.format, encoding=raw.encoding), depth + 1
            )

    def is_one(self, fields: Mapping[str, Any]) -> bool:
        """Whether an object is a record for sure, whatever is inside it."""
        plain = "title" in fields and "abstract" in fields and type(fields.get("publication_number", {})) is not dict
        return plain or any(value_at(fields, name) is not None for _, name in self.names.chosen)

    def parse_record(self, raw: Any, source: str) -> Record:
        """One record from one decoded object."""
        record = Record(source)
        if type(raw) is not dict and not isinstance(raw, Mapping):
            return record.reject("not_an_object", f"a JSON {type(raw).__name__}")
        shape, values = self._fields(raw)
        record.layout = "" if shape.name == "plain" else shape.name
        record.publication_number = publication_number(values, source)
        record.title = _title(values.get("title"))
        record.abstract = clean_abstract(without_markup(text_of(values.get("abstract"))))
        if self._kept and not _ONLY_SEARCHED.issuperset(values):
            for name, value in kept_fields(values, Limits(self.max_claims_chars, self.max_description_chars)).items():
                setattr(record, name, value)
        reason, detail = self._problem(record, values)
        return record.reject(reason, f"{detail}{'; ' * bool(detail)}{_seen(raw)}") if reason else record

    def _fields(self, raw: Mapping[str, Any]) -> tuple[Shape, dict[str, Any]]:
        """The shape of an object, and its canonical fields."""
        shape = shape_of(raw)
        values = shape.record(raw)
        if shape is not PLAIN and not all(name in values for name in REQUIRED):
            values = PLAIN.record(raw) | values  # what an unusual record of an office has under a plain name
        for canonical, name in self.names.chosen:
            value = value_at(raw, name)
            values[canonical] = value
            if canonical == "publication_number":
                values.pop("application_number", None)
        return shape, values

    def _problem(self, record: Record, values: Mapping[str, Any]) -> tuple[str, str]:
        """Why a record cannot be used, and what people should know; nothing where it can. Fills in its codes."""
        for name in ("publication_number", "title", "abstract"):
            if not getattr(record, name):
                return f"missing_{name}", ""
        if is_placeholder(record.abstract):
            return "placeholder_abstract", record.abstract
        if len(record.abstract) < self.min_abstract_chars:
            return "abstract_too_short", f"{len(record.abstract)} characters"
        if len(record.abstract) > self.max_abstract_chars:
            record.cut_chars = len(record.abstract) - self.max_abstract_chars
            record.abstract = record.abstract[: self.max_abstract_chars]
        record.language = detect_language(record.abstract)
        text = classification_text(values.get("classifications"))
        codes = ipc.leaf_codes(text)
        for code in codes:
            (record.indexing_codes if ipc.is_indexing(code) else record.codes).append(code)
        if record.codes:
            return "", ""
        if says_nothing(text):
            return "missing_classifications", ""
        return "only_indexing_codes" if codes else "no_full_code", text.strip()[:_LONGEST_CODES]


@dataclass(frozen=True)
class PatentTextParser(RecordParser):
    """Patents to be embedded: the same, but a classification is not needed."""

    _kept: ClassVar[bool] = False

    def parse_record(self, raw: Any, source: str) -> Record:
        """One record from one decoded object, with or without a code."""
        record = super().parse_record(raw, source)
        if record.reason in ("missing_classifications", "no_full_code", "only_indexing_codes"):
            record.reason = record.detail = ""
        return record


@dataclass(frozen=True)
class WholePatentParser(PatentTextParser):
    """Patents to be embedded, shown and filtered: with all that is kept of those to train on."""

    _kept: ClassVar[bool] = True


@dataclass(frozen=True)
class TextParser(RecordParser):
    """Any texts: a column of a table, or a field of JSON objects. They become the ``abstract`` of records.

    Args:
        text_column: holds the text, which stays as it is.
        id_column: holds a name of the text, unique in the corpus; None: it is named by its file and place there.
    """

    text_column: str = "text"
    id_column: str | None = None
    duplicate_reason: ClassVar[str] = "duplicate_id"

    def is_one(self, fields: Mapping[str, Any]) -> bool:
        """Whether the text is there."""
        return self.text_column in fields

    def parse_record(self, raw: Any, source: str) -> Record:
        """One record from one decoded object, whose text is its ``abstract``."""
        record = Record(source)
        if not isinstance(raw, Mapping):
            return record.reject("not_an_object", f"a JSON {type(raw).__name__}")
        seen = sorted(map(str, raw))
        name = source if self.id_column is None else raw.get(self.id_column)
        if not isinstance(name, str | int) or name == "":
            return record.reject("missing_id", f"nothing in {self.id_column!r} among {seen}")
        record.publication_number = SURROGATE.sub("", str(name))
        text = raw.get(self.text_column)
        if not isinstance(text, str) or not text.strip():
            return record.reject("missing_text", f"no text in {self.text_column!r} among {seen}")
        record.abstract = SURROGATE.sub("", text)[: self.max_abstract_chars]
        record.cut_chars = max(0, len(text) - self.max_abstract_chars)
        return record


def to_table(records: Sequence[Record]) -> pa.Table:
    """Records as a table of ``RECORDS``."""
    columns = [pa.array([getattr(record, column.name) for record in records], column.type) for column in RECORDS]
    return pa.Table.from_arrays(columns, schema=RECORDS)


def _rejected(raw: RawRecord) -> Record:
    return Record(SURROGATE.sub("?", raw.source)).reject(raw.reason, raw.detail)


def _seen(raw: Mapping[str, Any]) -> str:
    return f"fields: {', '.join(map(str, raw))}" if raw else "no fields"


def _title(value: Any) -> str:
    title = clean_text(without_markup(text_of(value)))
    return "" if title and says_nothing(title) else title
