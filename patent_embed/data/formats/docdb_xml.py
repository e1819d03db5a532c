"""DOCDB exchange documents, as the EPO delivers them in bulk and as its Open Patent Services (OPS) answer.

Layout: ``exchange-documents-v2.x.xsd``. Documents are ``exchange-document`` elements, in OPS at any depth (biblio,
abstract, search, family, equivalents, full cycle); OPS's full texts are ``fulltext-document`` elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from patent_embed.data.cited import cited
from patent_embed.data.xml_documents import Reader, XmlFormat
from patent_embed.data.xml_fields import (
    claims,
    distinct,
    document_number,
    filled,
    localized,
    paragraphs,
    preferred,
    publication_number,
    symbol,
)
from patent_embed.data.xml_tree import attribute, child, children, descendants, text, texts

# Of the schemes of patent-classification those with symbols of the IPC's kind: CPCI (inventive), CPCA (additional),
# CPC, CPCNO (given by a national office), IPC. Japan's FI and F-terms, Germany's DEKLA and the old US classes are not.
_SCHEMES = re.compile(r"(?:CPC|IPC)", re.IGNORECASE)
_FORMATS = ("docdb", "epodoc", "docdba", "original", "")  # of names of applicants, the standard one first
_COUNTRY_AFTER_NAME = re.compile(r"\s*\[[A-Z]{2}\]$")


def exchange_document(document: Element) -> dict[str, Any]:
    """The fields of an ``exchange-document`` or a ``fulltext-document``."""
    biblio = child(document, "bibliographic-data")
    number = publication_number(*(attribute(document, name) for name in ("country", "doc-number", "kind")))
    published = _document_ids(children(biblio, "publication-reference"))
    return filled(
        {
            "publication_number": number or _number(published),
            "title": localized(children(biblio, "invention-title")),
            "abstract": localized(_by_source(children(document, "abstract"))),
            "classifications": _codes(biblio),
            "claims": claims(children(preferred(children(document, "claims")), "claim")),
            "description": paragraphs(preferred(children(document, "description"))),
            "citations": cited(
                (_number(children(document, "document-id")), texts(_categories(each)))
                for each in children(biblio, "references-cited", "citation")
                for document in children(each, "patcit")
            ),
            "family_id": attribute(document, "family-id"),
            "publication_date": attribute(document, "date-publ") or _date(published),
            "applicants": _names(children(biblio, "parties", "applicants", "applicant")),
        }
    )


def _categories(citation: Element) -> list[Element]:
    return [*children(citation, "category"), *children(citation, "rel-passage", "category")]


def _by_source(abstracts: list[Element]) -> list[Element]:
    """The office's own abstracts first, those that somebody translated last."""
    return sorted(abstracts, key=lambda abstract: "transl" in attribute(abstract, "abstract-source").lower())


def _document_ids(references: Iterable[Element]) -> list[Element]:
    """``document-id`` of references, those in DOCDB's own format first."""
    found = [
        (attribute(each, "document-id-type") or attribute(reference, "data-format"), each)
        for reference in references
        for each in children(reference, "document-id")
    ]
    return [each for _, each in sorted(found, key=lambda pair: pair[0] not in ("docdb", ""))]


def _number(document_ids: Iterable[Element]) -> str:
    """The first number with a country and a kind, else the first with a country, else epodoc's (they are in one)."""
    ids = list(document_ids)
    for needed in (("country", "kind"), ("country",), ()):
        for each in ids:
            if all(text(child(each, name)) for name in needed) and (number := document_number(each)):
                return number
    return ""


def _date(document_ids: Iterable[Element]) -> str:
    return next((date for each in document_ids if (date := text(child(each, "date")))), "")


def _codes(biblio: Element | None) -> list[str]:
    """Symbols of the IPC (eighth edition, then older ones) and of the CPC, in any of the layouts in use."""
    old = child(biblio, "classification-ipc")
    found = [symbol(each) for each in children(biblio, "classifications-ipcr", "classification-ipcr")]
    for name in ("text", "main-classification", "further-classification"):
        found += texts(children(old, name))
    for each in descendants(child(biblio, "patent-classifications"), "patent-classification"):
        scheme = child(each, "classification-scheme")
        if scheme is None or _SCHEMES.match(attribute(scheme, "scheme")):
            found.append(symbol(each))
    return distinct(found)


def _names(applicants: list[Element]) -> list[str]:
    """Names of applicants in one format: the same applicant stands there once in each."""
    for wanted in _FORMATS:
        of_format = [each for each in applicants if attribute(each, "data-format").lower() == wanted]
        names = (text(child(each, "applicant-name")) for each in of_format)
        found = distinct(_COUNTRY_AFTER_NAME.sub("", name).strip(" ,;") for name in names)
        if found:
            return found
    return []


class DocdbXml(XmlFormat):
    """XML of the EPO: DOCDB and OPS."""

    name: ClassVar[str] = "docdb_xml"
    order: ClassVar[int] = 20
    documents: ClassVar[Mapping[str, Reader]] = {
        "exchange-document": exchange_document,
        "fulltext-document": exchange_document,
    }
    marks: ClassVar[tuple[str, ...]] = ("world-patent-data", "exchange-documents", "fulltext-documents")


DOCDB_XML = DocdbXml()
