"""Korean patents of KIPRIS Plus, its XML as objects: the bibliographic details, and rows of its searches.

An application has up to three numbers of its own and is named by the latest that it got: registration
(``10-0866101-0000`` → ``KR100866101B1``), publication of the application (``10-2005-0012229`` → ``KR20050012229A``),
as DOCDB writes them; for utility models (``20-…``) with the kinds ``Y1`` and ``U``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any, ClassVar

from patent_embed.data.layouts import filled, found, texts
from patent_embed.data.shapes.base import Shape

_REGISTERED = re.compile(r"([12]0)-?(\d{7})(?:-?\d{4})?")
_OPENED = re.compile(r"([12]0)-?(\d{4})-?(\d{7})")
_DETAILS = "biblioSummaryInfoArray"
_ENVELOPES = ("response", "body", "items", "item", "PatentUtilityInfo")


class Kipris(Shape):
    """An answer of KIPRIS Plus, or one patent of it."""

    name: ClassVar[str] = "kipris"
    order: ClassVar[int] = 14

    def recognises(self, names: Set[str]) -> bool:
        """By the parts of the details, by names of a search's rows, or by the envelope of an answer."""
        rows = ({"inventionTitle", "astrtCont"}, {"InventionName", "ApplicationNumber"})
        details = {_DETAILS, "biblioSummaryInfo"}
        return not names.isdisjoint(details) or any(row <= names for row in rows) or names == {"header", "body"}

    def inner(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]] | None:
        """The items of an answer."""
        return _answer(fields) if set(fields) == {"header", "body"} else None

    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of one patent, from its details or from a row."""
        summary = _part(fields, "biblioSummaryInfo") or [fields]
        number, date = _published(summary)
        ipc = _texts(_part(fields, "ipcInfo") or [fields], "ipcNumber", "InternationalpatentclassificationNumber")
        cited = _texts(_part(fields, "priorArtDocumentsInfo"), "documentsNumber")
        return filled(
            {
                "publication_number": number,
                "title": _first(summary, "inventionTitle", "InventionName", "inventionTitleEng"),
                "abstract": _first(_part(fields, "abstractInfo") or [fields], "astrtCont", "Abstract"),
                "classifications": ipc + _texts(_part(fields, "cpcInfo"), "cpcNumber"),
                "claims": _texts(_part(fields, "claimInfo"), "claim"),
                "citations": [each.replace(" ", "") for each in cited],
                "publication_date": date,
                "applicants": _texts(_part(fields, "applicantInfo") or [fields], "name", "applicantName", "Applicant"),
                "application_number": _first(summary, "applicationNumber", "ApplicationNumber"),
            }
        )


def _answer(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    here: list[tuple[str, Any]] = [("", fields)]
    for name in _ENVELOPES[1:]:
        inside = []
        for place, value in here:
            below = found(value, name)
            inside += [(f"{place}.{name}[{number}]", each) for number, each in enumerate(below)] or [(place, value)]
        here = inside
    yield from ((place, value) for place, value in here if place)


def _part(fields: Mapping[str, Any], name: str) -> list[Any]:
    """The objects of a part of the details, with or without the array around it."""
    return found(fields, f"{name}Array", name) or found(fields, name)


def _texts(objects: list[Any], *names: str) -> list[str]:
    return texts(value for each in objects for name in names for value in found(each, name))


def _first(objects: list[Any], *names: str) -> str:
    return next((value for name in names for value in _texts(objects, name)), "")


def _published(summary: list[Any]) -> tuple[str, str]:
    """Number and date of the latest publication; empty for an application that is not published."""
    registered = _REGISTERED.fullmatch(_first(summary, "registerNumber", "RegistrationNumber"))
    if registered:
        kind = "B1" if registered[1] == "10" else "Y1"
        date = _first(summary, "publicationDate", "PublicDate", "registerDate", "RegistrationDate")
        return f"KR{registered[1]}{registered[2]}{kind}", date
    opened = _OPENED.fullmatch(_first(summary, "openNumber", "OpeningNumber"))
    if opened:
        return f"KR{opened[2]}{opened[3]}{'A' if opened[1] == '10' else 'U'}", _first(
            summary, "openDate", "OpeningDate"
        )
    return _first(summary, "publicationNumber", "PublicNumber"), _first(summary, "publicationDate", "PublicDate")


KIPRIS = Kipris()
