"""Answers of KIPRIS Plus, the Korean office's API, as it gives them: XML, one ``item`` a patent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from patent_embed.data.shapes.kipris import Kipris
from patent_embed.data.xml_documents import Reader, XmlFormat, xml_beginning
from patent_embed.data.xml_tree import local, text

_PARTS = re.compile(rb"<(?:biblioSummaryInfo|PatentUtilityInfo|inventionTitle|astrtCont)")


def item(document: Element) -> dict[str, Any]:
    """The fields of an ``item`` (details, or a row of a search) or of a ``PatentUtilityInfo``."""
    return Kipris().record(as_object(document))


def as_object(document: Element) -> dict[str, list[Any]]:
    """An element as an object: name → the elements of that name, each a text or an object."""
    whole: dict[str, list[Any]] = {}
    stack = [(document, whole)]
    while stack:
        node, target = stack.pop()
        for below in node:
            inside: dict[str, list[Any]] = {}
            if len(below):
                stack.append((below, inside))
            target.setdefault(local(below), []).append(inside if len(below) else text(below))
    return whole


class KiprisXml(XmlFormat):
    """XML of KIPRIS Plus."""

    name: ClassVar[str] = "kipris_xml"
    order: ClassVar[int] = 23
    documents: ClassVar[Mapping[str, Reader]] = {"item": item, "PatentUtilityInfo": item}

    def recognises(self, name: str, head: bytes) -> bool:
        """By parts of a patent inside an answer; ``item`` alone is in all kinds of XML."""
        beginning = xml_beginning(head)
        return b"<response" in beginning and _PARTS.search(beginning) is not None


KIPRIS_XML = KiprisXml()
