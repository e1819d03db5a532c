"""US grants and applications in XML, from 2001 to today.

- Since 2005 ("Red Book", ICE, after WIPO ST.36): ``us-patent-grant`` and ``us-patent-application``, 4.0 to 4.x.
- Grants of 2001 to 2004 (WIPO ST.32): ``PATDOC``, whose parts have INID codes as names (``B110`` is the number).
- Applications of 2001 to 2004 ("PAP"): ``patent-application-publication``.

Bulk files hold a week's documents one after the other, each with its own declarations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from patent_embed.data.xml_documents import Reader, XmlFormat
from patent_embed.data.xml_fields import (
    claims,
    distinct,
    document_number,
    filled,
    localized,
    paragraphs,
    publication_number,
    symbol,
)
from patent_embed.data.xml_tree import attribute, child, children, descendants, text, texts

# Fixed columns of the old layouts: class and subclass in four, the main group in three, then the subgroup.
_COLUMNS = re.compile(r"([A-H]\d\d[A-Z])([ \d]{2}\d)(\d{2,})")


def red_book(document: Element) -> dict[str, Any]:
    """The fields of a ``us-patent-grant`` or a ``us-patent-application``."""
    biblio = child(document, "us-bibliographic-data-grant")
    if biblio is None:
        biblio = child(document, "us-bibliographic-data-application")
    published = child(biblio, "publication-reference", "document-id")
    cited = [*children(biblio, "us-references-cited", "us-citation"), *children(biblio, "references-cited", "citation")]
    return filled(
        {
            "publication_number": document_number(published),
            "title": text(child(biblio, "invention-title")),
            "abstract": localized(children(document, "abstract")),
            "classifications": _red_book_codes(biblio),
            "claims": claims(children(document, "claims", "claim")),
            "description": paragraphs(child(document, "description")),
            "citations": distinct(document_number(child(each, "patcit", "document-id")) for each in cited),
            "publication_date": text(child(published, "date")) or attribute(document, "date-publ"),
            "applicants": _red_book_names(biblio),
        }
    )


def _red_book_codes(biblio: Element | None) -> list[str]:
    """Of the patent itself: citations and the field of search have codes of their own, which are not its."""
    old = child(biblio, "classification-ipc")
    found = [symbol(each) for each in children(biblio, "classifications-ipcr", "classification-ipcr")]
    for name in ("main-classification", "further-classification"):
        found += texts(children(old, name))
    found += [symbol(each) for each in descendants(child(biblio, "classifications-cpc"), "classification-cpc")]
    return distinct(found)


def _red_book_names(biblio: Element | None) -> list[str]:
    """Assignees, and applicants that are no inventors; without any, the inventors who applied."""
    parties = child(biblio, "us-parties")
    if parties is None:
        parties = child(biblio, "parties")
    applicants = list(descendants(parties, "us-applicant", "applicant"))
    firms = [each for each in applicants if attribute(each, "app-type") != "applicant-inventor"]
    firms += children(biblio, "assignees", "assignee")
    return distinct(map(_name, firms)) or distinct(map(_name, applicants))


def _name(party: Element) -> str:
    book = child(party, "addressbook")
    book = party if book is None else book
    names = (text(child(book, name)) for name in ("first-name", "last-name"))
    return text(child(book, "orgname")) or " ".join(name for name in names if name)


def patdoc(document: Element) -> dict[str, Any]:
    """The fields of a ``PATDOC``: a grant of 2001 to 2004."""
    biblio = child(document, "SDOBI")
    cited = children(biblio, "B500", "B560", "B561", "PCIT", "DOC")
    codes = [each for name in ("B511", "B512", "B513") for each in children(biblio, "B500", "B510", name)]
    return filled(
        {
            "publication_number": publication_number(
                text(child(biblio, "B100", "B190")) or "US",
                text(child(biblio, "B100", "B110")),
                text(child(biblio, "B100", "B130")),
            ),
            "title": text(child(biblio, "B500", "B540")),
            "abstract": text(child(document, "SDOAB")),
            "classifications": distinct(_column_symbol("".join(each.itertext())) for each in codes),
            "claims": texts(descendants(child(document, "SDOCL"), "CLM")),
            "description": paragraphs(child(document, "SDODE")),
            "citations": distinct(
                publication_number(text(child(doc, "CTRY")) or "US", text(child(doc, "DNUM")), text(child(doc, "KIND")))
                for doc in cited
            ),
            "publication_date": text(child(biblio, "B100", "B140")),
            "applicants": _patdoc_names(children(biblio, "B700", "B730", "B731", "PARTY-US", "NAM")),
        }
    )


def _patdoc_names(names: Iterable[Element]) -> list[str]:
    return distinct(
        text(child(name, "ONM")) or " ".join(texts([*children(name, "FNM"), *children(name, "SNM")])) for name in names
    )


def _column_symbol(code: str) -> str:
    """``G06F 1516`` → ``G06F15/16``; anything else as it is (designs have Locarno classes, ``1402``)."""
    found = _COLUMNS.fullmatch(code.strip())
    return f"{found[1]}{found[2].strip()}/{found[3]}" if found else code.strip()


def application_2001(document: Element) -> dict[str, Any]:
    """The fields of a ``patent-application-publication`` of 2001 to 2004."""
    biblio = child(document, "subdoc-bibliographic-information")
    technical = child(biblio, "technical-information")
    return filled(
        {
            "publication_number": publication_number(
                "US", text(child(biblio, "document-id", "doc-number")), text(child(biblio, "document-id", "kind-code"))
            ),
            "title": text(child(technical, "title-of-invention")),
            "abstract": " ".join(texts(children(document, "subdoc-abstract", "paragraph"))),
            "classifications": distinct(map(text, descendants(child(technical, "classification-ipc"), "ipc"))),
            "claims": claims(descendants(child(document, "subdoc-claims"), "claim")),
            "description": paragraphs(child(document, "subdoc-description")),
            "publication_date": text(child(biblio, "document-id", "document-date")),
            "applicants": texts(children(biblio, "assignee", "organization-name")),
        }
    )


class UsptoXml(XmlFormat):
    """XML of the USPTO."""

    name: ClassVar[str] = "uspto_xml"
    order: ClassVar[int] = 21
    documents: ClassVar[Mapping[str, Reader]] = {
        "us-patent-grant": red_book,
        "us-patent-application": red_book,
        "PATDOC": patdoc,
        "patent-application-publication": application_2001,
    }


USPTO_XML = UsptoXml()
