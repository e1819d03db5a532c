"""Exchange documents as JSON: what the EPO's Open Patent Services answer, and XML turned into objects by others.

Attributes are names with ``@``, texts stand under ``$`` ("BadgerFish"), or under ``#text`` (xmltodict). The object
becomes the same tree as the XML's, and is read as that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any, ClassVar
from xml.etree.ElementTree import Element, SubElement

from patent_embed.data.formats.docdb_xml import DocdbXml
from patent_embed.data.formats.uspto_xml import UsptoXml
from patent_embed.data.shapes.base import Shape

_READERS = {**DocdbXml.documents, **UsptoXml.documents}
_ROOTS = frozenset({"world-patent-data", "exchange-documents", "fulltext-documents"})
_TEXTS = ("$", "#text")


class OpsJson(Shape):
    """An answer of OPS, or one document of it."""

    name: ClassVar[str] = "ops_json"
    order: ClassVar[int] = 15

    def recognises(self, names: Set[str]) -> bool:
        """By the name of a document or of what stands around documents."""
        known = {_local(name) for name in names} if len(names) <= 20 else names
        return "bibliographic-data" in known or not known.isdisjoint(_ROOTS | _READERS.keys())

    def inner(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]] | None:
        """The documents of an answer, each in an object under its name."""
        if len(fields) == 1:
            ((name, value),) = fields.items()
            if _local(name) in _READERS and isinstance(value, Mapping):
                return None
        return None if any(_local(name) == "bibliographic-data" for name in fields) else _documents(fields)

    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of one document."""
        name, value = next(
            ((_local(name), value) for name, value in fields.items() if _local(name) in _READERS),
            ("exchange-document", fields),
        )
        return _READERS[name](element(name, value))


def _documents(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """All documents at any depth, in order, with the place of each."""
    stack: list[tuple[str, str, Any]] = [("", "", fields)]
    while stack:
        place, name, value = stack.pop()
        if isinstance(value, list | tuple):
            stack += [(f"{place}[{number}]", name, each) for number, each in reversed(list(enumerate(value)))]
        elif _local(name) in _READERS:
            yield place, {name: value}
        elif isinstance(value, Mapping):
            stack += [
                (f"{place}.{key}", key, each) for key, each in reversed(list(value.items())) if isinstance(key, str)
            ]


def element(name: str, value: Any) -> Element:
    """The tree of an object, whose names lose their prefixes."""
    root = Element(name)
    stack: list[tuple[Element, Any]] = [(root, value)]
    while stack:
        node, inside = stack.pop()
        if not isinstance(inside, Mapping):
            node.text = _text(inside)
            continue
        for key, each in inside.items():
            if not isinstance(key, str):
                continue
            if key in _TEXTS:
                node.text = _text(each)
            elif key.startswith("@"):
                node.set(_local(key[1:]), _text(each))
            else:
                for below in each if isinstance(each, list | tuple) else [each]:
                    child = SubElement(node, _local(key))
                    child.tail = " "  # the parts of a text are paragraphs
                    stack.append((child, below))
    return root


def _local(name: str) -> str:
    return name.rpartition(":")[2]


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


OPS_JSON = OpsJson()
