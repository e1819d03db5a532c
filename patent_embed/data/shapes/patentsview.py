"""Patents and applications of PatentsView: its PatentSearch API (``/patent``, ``/publication``) and the older one.

The number is that of the US patent alone (``10000000``), as all files of PatentsView name it. Claims and texts come
from files of their own and are read where somebody has joined them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any, ClassVar

from patent_embed.data.layouts import filled, found, text, texts
from patent_embed.data.shapes.base import Shape

_CPC = ("cpc_current", "cpc_at_issue", "cpcs")
_CPC_SYMBOLS = ("cpc_subgroup_id", "cpc_group_id", "cpc_group")
_IPC = ("ipcr", "IPCs")
_CITED = (
    ("us_patent_citations", "citation_patent_id"),
    ("us_application_citations", "citation_document_number"),
    ("cited_patents", "cited_patent_number"),
)
_SYMBOL = re.compile(r"([A-HY]\d\d[A-Z]\s*\d{1,4})\s*[/:]\s*(\d{2,6})")


class PatentsView(Shape):
    """A patent or an application of the API."""

    name: ClassVar[str] = "patentsview"
    order: ClassVar[int] = 13

    def recognises(self, names: Set[str]) -> bool:
        """By the names of number and title."""
        patent = not names.isdisjoint({"patent_title", "patent_abstract"})
        application = "document_number" in names and not names.isdisjoint({"publication_title", "publication_abstract"})
        return patent or application

    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a patent."""
        claims = found(fields, "claims") or found(fields, "g_claims") or found(fields, "pg_claims")
        numbers = ("patent_id", "patent_number", "publication_number", "document_number")
        return filled(
            {
                "publication_number": _first(fields, *numbers),
                "title": _first(fields, "patent_title", "publication_title"),
                "abstract": _first(fields, "patent_abstract", "publication_abstract"),
                "classifications": _codes(fields),
                "claims": texts(_claim(each) for each in claims),
                "description": _first(fields, "description_text", "patent_description"),
                "citations": texts(number for path in _CITED for number in found(fields, *path)),
                "publication_date": _first(fields, "patent_date", "publication_date"),
                "applicants": texts(found(fields, "assignees", "assignee_organization"))
                or texts(found(fields, "applicants", "applicant_organization")),
            }
        )


def _first(fields: Mapping[str, Any], *names: str) -> str:
    return next((value for name in names if (value := text(fields, name))), "")


def _claim(claim: Any) -> str:
    return (text(claim, "claim_text") or text(claim, "text")) if isinstance(claim, Mapping) else text(claim)


def _codes(fields: Mapping[str, Any]) -> list[str]:
    """IPC in parts; CPC as a symbol, under names that changed over the years, at times as an address with a colon."""
    codes = [_ipc(each) for name in _IPC for each in found(fields, name)]
    for each in (entry for name in _CPC for entry in found(fields, name)):
        symbols = texts(map(each.get, _CPC_SYMBOLS) if isinstance(each, Mapping) else [each])
        full = (_SYMBOL.search(symbol) for symbol in symbols)
        codes.append(next((f"{symbol[1]}/{symbol[2]}" for symbol in full if symbol), next(iter(symbols), "")))
    return texts(codes)


def _ipc(entry: Any) -> str:
    names = ("ipc_section", "ipc_class", "ipc_subclass", "ipc_main_group", "ipc_subgroup")
    section, number, subclass, group, subgroup = (text(entry, name) for name in names)
    whole = section and number and subclass and group and subgroup
    return f"{section}{number.zfill(2)}{subclass}{group}/{subgroup.zfill(2)}" if whole else ""


PATENTSVIEW = PatentsView()
