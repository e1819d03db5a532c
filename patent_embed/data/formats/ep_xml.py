"""Publications of the EPO in full text: ``ep-patent-document``, versions 1.0 to 1.x.

From the publication server and the bulk "EP full-text data". Bibliographic data stand in ``SDOBI`` under their INID
codes (``B540`` is the title, once in each language).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from patent_embed.data.xml_documents import Reader, XmlFormat
from patent_embed.data.xml_fields import (
    claims,
    distinct,
    filled,
    localized,
    paragraphs,
    preferred,
    publication_number,
    symbol,
)
from patent_embed.data.xml_tree import attribute, child, children, descendants, local, text, texts

_CITED = re.compile(r"([A-Z]{2})\s*-\s*([A-Z]\d?)\s*-\s*(\d[\d\s/.-]*)")  # WO-A1-2004/012345


def ep_document(document: Element) -> dict[str, Any]:
    """The fields of an ``ep-patent-document``."""
    biblio = child(document, "SDOBI")
    cited = descendants(child(biblio, "B500", "B560"), "B561")
    return filled(
        {
            "publication_number": publication_number(
                *(attribute(document, name) for name in ("country", "doc-number", "kind"))
            ),
            "title": _titles(child(biblio, "B500", "B540")),
            "abstract": localized(children(document, "abstract")),
            "classifications": distinct(
                symbol(each) for each in descendants(child(biblio, "B500"), "classification-ipcr", "classification-cpc")
            ),
            "claims": claims(children(preferred(children(document, "claims")), "claim")),
            "description": paragraphs(preferred(children(document, "description"))),
            "citations": distinct(map(_number, texts(cited))),
            "publication_date": attribute(document, "date-publ") or text(child(biblio, "B100", "B140")),
            "applicants": _names(biblio),
        }
    )


def _titles(titles: Element | None) -> list[dict[str, str]]:
    """``B541`` is a language, the ``B542`` behind it the title."""
    pairs = pairwise(titles) if titles is not None else ()
    found = [(text(a).lower(), text(b)) for a, b in pairs if (local(a), local(b)) == ("B541", "B542")]
    return [{"lang": language, "text": title} for language, title in found if title]


def _number(citation: str) -> str:
    found = _CITED.search(citation)
    return publication_number(found[1], found[3], found[2]) if found else ""


def _names(biblio: Element | None) -> list[str]:
    """Applicants, or for a patent its proprietors."""
    for path in (("B710", "B711"), ("B730", "B731")):
        if found := distinct(texts(children(biblio, "B700", *path, "snm"))):
            return found
    return []


class EpXml(XmlFormat):
    """XML of European patents in full text."""

    name: ClassVar[str] = "ep_xml"
    order: ClassVar[int] = 25
    documents: ClassVar[Mapping[str, Reader]] = {"ep-patent-document": ep_document}


EP_XML = EpXml()
