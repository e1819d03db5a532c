"""Records whose names say what their fields are: this program's own layout, and most tables and JSON of vendors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, ClassVar

from patent_embed.data.classifications import split_symbol
from patent_embed.data.envelopes import about_others, records_inside
from patent_embed.data.fields import REQUIRED, Plan, Source, is_publication_number, normal, plan
from patent_embed.data.labelled import labelled_fields
from patent_embed.data.placeholders import is_placeholder, says_nothing
from patent_embed.data.shapes.base import Shape
from patent_embed.data.values import text_of

_EMPTY: tuple[Any, ...] = (None, "", [], {})
# A number in three parts, and names that hold anything, but a publication number where it looks like one.
_NUMBER_ALONE = ("docnumber", "documentnumber", "docno", "documentno")
_NUMBERS = (*_NUMBER_ALONE, "number", "no", "publicationnumber")
_COUNTRY = ("country", "countrycode", "jurisdiction", "publicationcountry", "authority")
_KIND = ("kind", "kindcode", "publicationkind")
_COUNTRY_CODE = re.compile(r"[A-Z]{2}")
_KIND_CODE = re.compile(r"[A-Z]\d?")
_ANY_ID = ("id", "number", "key", "no", "编号", "序号", "name", "filename", "file")
_TEXT_NAMES = ("text", "content", "body", "fulltext", "全文", "内容", "document")
_DEEPEST_INSIDE = 3
_MANY_FIELDS = 500  # an object with so many is a table, in which looking around costs more than it finds


class Plain(Shape):
    """A record whose fields are found by their names."""

    name: ClassVar[str] = "plain"
    order: ClassVar[int] = 1000

    def recognises(self, names: Set[str]) -> bool:
        """Always: it is asked last."""
        return True

    def inner(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]] | None:
        """The records of an answer of an API, or of a table that JSON holds as one object; else None."""
        return records_inside(fields)

    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields by their names; what is missing is looked for in the objects inside."""
        known = plan(tuple(fields))
        found = _by_plan(fields, known)
        if not all(name in found for name in REQUIRED):
            _add_what_is_missing(found, fields)
        return found


def _by_plan(fields: Mapping[str, Any], known: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for canonical, sources in known.items():
        if len(sources) == 1:
            value = fields[sources[0].name]
        elif canonical == "classifications":
            value = [fields[source.name] for source in sources]
        elif canonical in ("title", "abstract"):
            value = _by_language(fields, sources)
        else:
            value = next((fields[source.name] for source in sources if _holds(fields[source.name])), None)
        if value not in _EMPTY:
            found[canonical] = value
    if "publication_number" in found:
        found["publication_number"] = _number_in_parts(fields, known, found["publication_number"])
    return found


def _holds(value: Any) -> bool:
    return not says_nothing(text_of(value)) if isinstance(value, str) else value not in _EMPTY and value == value


def _by_language(fields: Mapping[str, Any], sources: tuple[Source, ...]) -> Any:
    """The first text of each language that the names tell; a placeholder only where there is nothing else."""
    found: dict[str, Any] = {}
    for name, language in sources:
        value = fields[name]
        if language not in found and value not in _EMPTY and not is_placeholder(text_of(value)):
            found[language] = value
    if not found:
        return next((fields[source.name] for source in sources if fields[source.name] not in _EMPTY), None)
    if len(found) == 1:
        return next(iter(found.values()))
    return [{"lang": language, "text": value} for language, value in found.items()]


def _add_what_is_missing(found: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """Add codes and numbers in parts, fields of objects inside, and what a text with labels holds."""
    if len(fields) > _MANY_FIELDS:
        return
    if "classifications" not in found and (symbol := split_symbol(fields)):
        found["classifications"] = symbol
    for inside in _objects_inside(fields):
        known = plan(tuple(inside))
        for canonical, value in _by_plan(inside, known).items():
            found.setdefault(canonical, value)
    named = {normal(name): value for name, value in fields.items() if isinstance(name, str)}
    if "publication_number" not in found:
        numbers = (text for name in _ANY_ID if is_publication_number(text := text_of(named.get(name))))
        if (number := next(numbers, None)) is not None:
            found["publication_number"] = number
    if "title" not in found or "abstract" not in found:
        for name in _TEXT_NAMES:
            if isinstance(labelled := named.get(name), str):
                for canonical, value in labelled_fields(labelled).items():
                    found.setdefault(canonical, value)


def _number_in_parts(fields: Mapping[str, Any], known: Plan, number: Any) -> Any:
    """Country, number and kind in one where they are three fields, of the record or of its number; else the number."""
    if isinstance(number, Mapping):
        fields, number = number, next((value for name, value in number.items() if normal(str(name)) in _NUMBERS), "")
    elif normal(known["publication_number"][0].name) not in _NUMBER_ALONE:
        return number
    if not (digits := text_of(number)).isdecimal():
        return number
    named = {normal(name): value for name, value in fields.items() if isinstance(name, str)}
    country = next((text_of(named[name]).strip() for name in _COUNTRY if name in named), "")
    kind = next((text_of(named[name]).strip() for name in _KIND if name in named), "")
    return f"{country}{digits}{kind}" if _COUNTRY_CODE.fullmatch(country) and _KIND_CODE.fullmatch(kind) else number


def _objects_inside(fields: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, Mapping) or about_others(name) or plan((name,)):
            continue
        yield value
        if depth < _DEEPEST_INSIDE:
            yield from _objects_inside(value, depth + 1)


PLAIN = Plain()
