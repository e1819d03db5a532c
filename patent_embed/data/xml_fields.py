"""Parts that XML documents of several offices have in common (WIPO ST.36): numbers, symbols, texts by language."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element

from patent_embed.data.xml_tree import attribute, child, children, descendants, text, texts

_SYMBOL_PARTS = ("section", "class", "subclass", "main-group", "subgroup")
_SYMBOL_IN_TEXT = re.compile(r"([A-HY]\d\d[A-Z])\s*(\d{1,4})\s*/\s*(\d{2,6})(?!\d)")
_NUMBERED = re.compile(r"\s*\d{1,3}\s*[.)]\s*\S")


def publication_number(country: str, number: str, kind: str) -> str:
    """``US``, ``08930553``, ``B2`` → ``US8930553B2``; empty without a number.

    Separators are left out ("2007/0140112"), and zeros that only fill the field, as DOCDB and the offices' own sites
    do; after a leading letter, too ("D0435854" → "D435854").
    """
    number = re.sub(r"[^0-9A-Z]", "", number.upper())
    country = country.strip().upper()
    if country:
        number = number.removeprefix(country)
    if country == "US":
        letters, digits = re.fullmatch(r"([A-Z]*)0*(.*)", number, re.DOTALL).groups()  # type: ignore[union-attr]
        number = letters + digits
    return country + number + kind.strip().upper() if number else ""


def document_number(document_id: Element | None) -> str:
    """``document-id`` with ``country``, ``doc-number`` and ``kind`` → publication number."""
    country, number, kind = (text(child(document_id, name)) for name in ("country", "doc-number", "kind"))
    return publication_number(country, number, kind)


def symbol(classification: Element) -> str:
    """A classification in parts (``section``, ``class``, ``subclass``, ``main-group``, ``subgroup``), in one symbol.

    Or one in a text of fixed columns (``text``, ``classification-symbol``), ``G06T   3/40        20060101AFI``.
    """
    parts = [text(child(classification, name)) for name in _SYMBOL_PARTS]
    if all(parts):
        return "".join(parts[:4]) + "/" + parts[4]
    whole = text(child(classification, "text")) or text(child(classification, "classification-symbol"))
    found = _SYMBOL_IN_TEXT.match(whole)
    return f"{found[1]}{found[2]}/{found[3]}" if found else whole


def localized(elements: Iterable[Element]) -> list[dict[str, str]]:
    """The texts of elements with a ``lang``, the first of each language: ``[{"lang": "en", "text": ...}]``."""
    found: dict[str, str] = {}
    for element in elements:
        content = text(element)
        if content:
            found.setdefault(attribute(element, "lang").lower(), content)
    return [{"lang": language, "text": content} for language, content in found.items()]


def preferred(elements: Iterable[Element]) -> Element | None:
    """Of elements with a ``lang``, the Chinese one, else the English one, else the first."""
    of_language: dict[str, Element] = {}
    for element in elements:
        of_language.setdefault(attribute(element, "lang").lower()[:2], element)
    return of_language.get("zh", of_language.get("en", next(iter(of_language.values()), None)))


def claims(elements: Iterable[Element]) -> list[str]:
    """Claims from ``claim`` elements, each with one claim, or with numbered ones in a ``claim-text`` each."""
    found: list[str] = []
    for element in elements:
        inside = texts(children(element, "claim-text"))
        if len(inside) > 1 and all(_NUMBERED.match(claim) for claim in inside):
            found += inside
        else:
            found += texts([element])
    return found


def paragraphs(element: Element | None) -> list[str]:
    """The paragraphs and headings of a description, or its text where it has none."""
    found = texts(descendants(element, "p", "heading", "paragraph", "PARA", "H"))
    return found or texts([] if element is None else [element])


def distinct(values: Iterable[str]) -> list[str]:
    """Values that hold something, without repeats, in order."""
    return list(dict.fromkeys(value for value in values if value))


def filled(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields without those that hold nothing."""
    return {name: value for name, value in fields.items() if value}
