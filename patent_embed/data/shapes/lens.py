"""Patents of The Lens, as its API and its JSON lines export hand them out.

The number stands in three parts; the bibliographic part is an object ``biblio``, in older exports the record itself.
A simple family has no number of its own: it is named by the smallest Lens ID of its members.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, ClassVar

from patent_embed.data.cited import cited
from patent_embed.data.layouts import filled, found, localized, numbered_claims, preferred, text, texts
from patent_embed.data.shapes.base import Shape
from patent_embed.data.xml_fields import publication_number


class Lens(Shape):
    """A record of The Lens."""

    name: ClassVar[str] = "lens"
    order: ClassVar[int] = 11

    def recognises(self, names: Set[str]) -> bool:
        """By the Lens ID beside parts that only patents have."""
        return "lens_id" in names and not names.isdisjoint({"doc_number", "jurisdiction", "biblio", "doc_key"})

    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a record."""
        biblio = next((each for each in found(fields, "biblio") if isinstance(each, Mapping)), fields)
        published: Any = next(iter(found(biblio, "publication_reference")), None)
        claims = [each for each in found(fields, "claims") if found(each, "claims")]
        return filled(
            {
                "publication_number": _number(fields) or _number(published),
                "title": localized(found(biblio, "invention_title") or found(fields, "title")),
                "abstract": localized(found(fields, "abstract")),
                "classifications": _codes(biblio),
                "claims": _claims(claims) or texts(found(fields, "claims")),
                "description": preferred(found(fields, "description")),
                "citations": cited(
                    (_number(document), found(each, "category"))
                    for each in found(biblio, "references_cited", "citations")
                    for document in found(each, "patcit", "document_id")
                ),
                "family_id": _family(fields, biblio),
                "publication_date": text(fields, "date_published") or text(published, "date"),
                "applicants": texts(found(biblio, "parties", "applicants", "extracted_name", "value")),
            }
        )


def _number(parts: Any) -> str:
    if not isinstance(parts, Mapping):
        return ""
    country = text(parts, "jurisdiction") or text(parts, "country")
    return publication_number(country, text(parts, "doc_number"), text(parts, "kind"))


def _codes(biblio: Mapping[str, Any]) -> list[str]:
    codes: list[Any] = []
    for name in ("classifications_ipcr", "classifications_cpc"):
        codes += found(biblio, name, "classifications", "symbol") or found(biblio, name, "symbol")
    return texts(codes)


def _claims(entries: list[Any]) -> list[str]:
    """Of the preferred language; a claim is a list of its parts, and at times one text has all claims."""
    languages = [{"lang": text(each, "lang"), "claims": list(map(_joined, found(each, "claims")))} for each in entries]
    claims = preferred(languages, "claims")
    return numbered_claims(claims[0]) if len(claims) == 1 else claims


def _joined(claim: Any) -> str:
    return " ".join(texts(found(claim, "claim_text")) or texts([claim]))


def _family(fields: Mapping[str, Any], biblio: Mapping[str, Any]) -> str:
    members = found(fields, "families", "simple_family", "members", "lens_id")
    members = members or found(biblio, "families", "simple_family", "members", "lens_id")
    names = texts([*members, *found(fields, "lens_id")]) if members else []
    return f"lens:{min(names)}" if names else ""


LENS = Lens()
