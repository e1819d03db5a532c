"""Publications of China's office (CNIPA) in its XML standard after WIPO ST.96: ``business:PatentDocumentAndRelated``.

One file a patent, in the packages of bibliographic data and of full texts (``CN-BIBS-ABSS``, ``CN-TXTS``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from patent_embed.data.xml_documents import Reader, XmlFormat
from patent_embed.data.xml_fields import distinct, filled, localized, publication_number
from patent_embed.data.xml_tree import attribute, child, children, descendants, text, texts

_SYMBOL_PARTS = ("Section", "MainClass", "Subclass", "MainGroup", "Subgroup")


def patent_document(document: Element) -> dict[str, Any]:
    """The fields of a ``PatentDocumentAndRelated``; a design has no abstract and no classification of the IPC."""
    biblio = child(document, "BibliographicData")
    if biblio is None:
        biblio = child(document, "DesignBibliographicData")
    published = child(biblio, "PublicationReference", "DocumentID")
    number = publication_number(*(attribute(document, name) for name in ("country", "docNumber", "kind")))
    cited = descendants(child(biblio, "ReferencesCited"), "PublicationReference")
    return filled(
        {
            "publication_number": number or _number(published),
            "title": localized([*children(biblio, "InventionTitle"), *children(biblio, "DesignTitle")]),
            "abstract": localized(children(document, "Abstract")),
            "classifications": distinct(
                map(_symbol, children(biblio, "ClassificationIPCRDetails", "ClassificationIPCR"))
            ),
            "claims": texts(children(document, "Claims", "Claim")),
            "description": texts(
                descendants(child(document, "Description"), "Paragraphs", "Heading", "InventionTitle")
            ),
            "citations": distinct(_number(child(each, "DocumentID")) for each in cited),
            "publication_date": attribute(document, "datePublication") or text(child(published, "Date")),
            "applicants": distinct(texts(_names(biblio, "ApplicantDetails", "Applicant"))),
        }
    )


def _number(document_id: Element | None) -> str:
    country, number, kind = (text(child(document_id, name)) for name in ("WIPOST3Code", "DocNumber", "Kind"))
    return publication_number(country, number, kind)


def _symbol(classification: Element) -> str:
    parts = [text(child(classification, name)) for name in _SYMBOL_PARTS]
    return "".join(parts[:4]) + "/" + parts[4] if all(parts) else text(child(classification, "Text"))


def _names(biblio: Element | None, *path: str) -> list[Element]:
    parties = children(biblio, "Parties", *path)
    return [name for each in parties for name in children(each, "AddressBook", "Name")]


class CnipaXml(XmlFormat):
    """XML of the CNIPA."""

    name: ClassVar[str] = "cnipa_xml"
    order: ClassVar[int] = 24
    documents: ClassVar[Mapping[str, Reader]] = {"PatentDocumentAndRelated": patent_document}


CNIPA_XML = CnipaXml()
