"""Objects that are no record but hold records: answers of APIs and search engines, and tables in one object.

``{"total": 2, "data": [...]}``, ``{"hits": {"hits": [{"_id": ..., "_source": {...}}]}}``, ``{"CN1A": {...}, ...}``, and
what pandas writes: ``{"title": {"0": ..., "1": ...}, ...}`` and ``{"columns": [...], "data": [[...], ...]}``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from patent_embed.data.fields import REQUIRED, is_publication_number, normal, plan
from patent_embed.data.shapes.base import shape_of

_DEEPEST = 6
_LOOKED_AT = 5  # elements of a list that tell whether it holds records
_ENOUGH = 2  # of the required fields: an object that has them is a record itself
_SOURCE = "_source"  # where Elasticsearch and OpenSearch keep the document
_ITS_FIELDS = (_SOURCE, "source", "fields", "attributes", "doc", "document")
_WRAPPED = ("_id", "_index", "_source", "_score", "fields", "highlight", "sort", "type", "id", "attributes", "links")


# Objects and lists inside a record that are about other patents.
_OTHERS = ("cit", "famil", "priorit", "related", "parent", "reference", "similar", "引", "同族", "优先权", "相似")


def about_others(name: Any) -> bool:
    """Whether a name inside a record leads to other patents than the record's own."""
    return not isinstance(name, str) or any(part in normal(name) for part in _OTHERS)


def records_inside(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]] | None:
    """(place, value) of each record in an object; None where it is a record, or nothing that is known."""
    if len(fields) == 1 and _is_bulk_action(fields):
        return iter(())
    if _is_columns(fields):
        return _rows_of_columns(fields)
    if _is_record(fields):
        return None
    if isinstance(fields.get("columns"), list) and isinstance(fields.get("data"), list):
        return _rows_of_split(fields)
    return _found(fields, "", 0)


def _is_bulk_action(fields: Mapping[str, Any]) -> bool:
    """Whether a line of a bulk file only says where the document in the next line goes: ``{"index": {"_id": ...}}``."""
    ((name, value),) = fields.items()
    bare = isinstance(value, Mapping) and all(isinstance(key, str) and key.startswith("_") for key in value)
    return name in ("index", "create", "update") and bare


def _found(fields: Mapping[str, Any], place: str, depth: int) -> Iterator[tuple[str, Any]] | None:
    """The records in the first list or object of them, at any depth; None where there are none."""
    wrapped = _document(fields)
    if wrapped is not None:
        return iter([(place, wrapped)])
    if fields and all(isinstance(value, Mapping) for value in fields.values()):
        some = [value for value, _ in zip(fields.values(), range(_LOOKED_AT), strict=False)]
        if all(_is_record(value) or _document(value) is not None for value in some):
            return _by_key(fields, place)
    if depth >= _DEEPEST:
        return None
    for name, value in fields.items():
        if isinstance(value, list) and not about_others(name) and _holds_records(value):
            return _elements(value, f"{place}.{name}")
    for name, value in fields.items():
        if (
            isinstance(value, Mapping)
            and not about_others(name)
            and (inner := _found(value, f"{place}.{name}", depth + 1)) is not None
        ):
            return inner
    return None


def _is_record(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    if shape_of(value).name != "plain":
        return True
    known = plan(tuple(value))
    return sum(name in known for name in (*REQUIRED, "application_number")) >= _ENOUGH


def _document(value: Any) -> Mapping[str, Any] | None:
    """The document of a hit of a search engine, with its id where it has no number of its own."""
    if not isinstance(value, Mapping) or not set(value) <= set(_WRAPPED) | set(_ITS_FIELDS):
        return None
    inside = next((value[name] for name in _ITS_FIELDS if _is_record(value.get(name))), None)
    return None if inside is None else _with_number(inside, value.get("_id") or value.get("id"))


def _with_number(record: Mapping[str, Any], key: Any) -> Mapping[str, Any]:
    if not isinstance(key, str) or not is_publication_number(key) or "publication_number" in plan(tuple(record)):
        return record
    return {**record, "publication_number": key}


def _holds_records(values: list[Any]) -> bool:
    some = values[:_LOOKED_AT]
    return any(_is_record(value) or _document(value) is not None for value in some)


def _elements(values: list[Any], place: str) -> Iterator[tuple[str, Any]]:
    for position, value in enumerate(values):
        document = _document(value)
        yield f"{place}[{position}]", value if document is None else document


def _by_key(fields: Mapping[str, Any], place: str) -> Iterator[tuple[str, Any]]:
    for key, value in fields.items():
        yield f"{place}.{key}", _with_number(_document(value) or value, key)


def _is_columns(fields: Mapping[str, Any]) -> bool:
    """Whether names lead to objects whose keys are the same row numbers."""
    values = list(fields.values())
    if not values or not all(isinstance(value, Mapping) and value for value in values) or not _is_record(fields):
        return False
    rows = list(values[0])
    return all(isinstance(row, str) and row.isdecimal() for row in rows) and all(list(each) == rows for each in values)


def _rows_of_columns(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for row in next(iter(fields.values())):
        yield f"[{row}]", {name: column[row] for name, column in fields.items()}


def _rows_of_split(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    names = [str(name) for name in fields["columns"]]
    for position, row in enumerate(fields["data"]):
        values = row if isinstance(row, list) else [row]
        yield f".data[{position}]", dict(zip(names, values, strict=False)) if isinstance(row, list) else row
