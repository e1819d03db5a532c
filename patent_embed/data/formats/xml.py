"""Other XML files: whatever patent documents of a known kind are in them, each after its own layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from patent_embed.data.formats.cnipa_xml import CnipaXml
from patent_embed.data.formats.docdb_xml import DocdbXml
from patent_embed.data.formats.ep_xml import EpXml
from patent_embed.data.formats.uspto_xml import UsptoXml
from patent_embed.data.xml_documents import Reader, XmlFormat


class OtherXml(XmlFormat):
    """XML whose beginning does not say whose it is: long declarations, several offices in one file, other roots."""

    name: ClassVar[str] = "xml"
    order: ClassVar[int] = 29
    suffixes: ClassVar[tuple[str, ...]] = (".xml",)
    documents: ClassVar[Mapping[str, Reader]] = {
        name: reader for each in (DocdbXml, UsptoXml, CnipaXml, EpXml) for name, reader in each.documents.items()
    }

    def recognises(self, name: str, head: bytes) -> bool:
        """Never by itself: what nobody else knows comes here by its suffix."""
        return False


OTHER_XML = OtherXml()
