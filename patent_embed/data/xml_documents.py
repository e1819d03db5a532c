"""Formats that are XML: each names its documents' root elements, and what each of them means."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO, ClassVar
from xml.etree.ElementTree import Element

from patent_embed.data import xml_pieces
from patent_embed.data.formats.base import Format
from patent_embed.data.raw import RawRecord, rejected
from patent_embed.data.xml_tree import ENCODINGS, XmlProblem, declared_encoding, declared_entities, parse

# A document's element to the canonical fields of one patent. It raises nothing for a well-formed document.
Reader = Callable[[Element], dict[str, Any]]


class XmlFormat(Format):
    """A file of XML documents. A broken document is one reject, and the others are read.

    Attributes:
        documents: local name of a document's element → what reads it.
        marks: names of other elements at whose sight a file is of this format, such as the root around the documents.
    """

    documents: ClassVar[Mapping[str, Reader]]
    marks: ClassVar[tuple[str, ...]] = ()

    def recognises(self, name: str, head: bytes) -> bool:
        """By the name of an element, or of a document type, in the file's beginning."""
        names = b"|".join(re.escape(known.encode()) for known in (*self.documents, *self.marks))
        pattern = rb"<(?:!DOCTYPE\s+)?(?:[\w.-]+:)?(?:" + names + rb")[\s/>]"
        return re.search(pattern, xml_beginning(head)) is not None

    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The documents of a file, in order; ``source`` gets their number, from 0, in brackets."""
        return read(file, source, self.documents)


def xml_beginning(head: bytes) -> bytes:
    """A file's beginning without byte order mark, and of UTF-16 and UTF-32 its letters; empty where it is no XML."""
    for mark in (codecs.BOM_UTF8, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        head = head.removeprefix(mark)
    letters = head.replace(b"\0", b"").lstrip()
    return letters if letters.startswith(b"<") else b""


def read(file: BinaryIO, source: str, documents: Mapping[str, Reader]) -> Iterator[RawRecord]:
    """The documents of these names in a stream, each as a record or as a reject."""
    number = 0
    encoding = "utf-8"
    entities: Mapping[str, str | None] = {}
    try:
        for piece in xml_pieces.pieces(file, list(documents)):
            where = f"{source}[{number}]"
            number += 1
            if b"<!DOCTYPE" in piece.gap:
                entities = declared_entities(piece.gap)
            encoding = declared_encoding(piece.gap) or encoding
            if piece.problem:
                yield rejected(where, "invalid_xml", piece.problem)
            else:
                yield _record(piece.content, encoding, entities, where, documents)
    except UnicodeDecodeError as error:
        yield rejected(f"{source}[{number}]", "bad_encoding", str(error))
    else:
        if number == 0:
            yield rejected(source, "invalid_xml", f"no {' or '.join(f'<{name}>' for name in documents)} in it")


def _record(
    content: bytes, encoding: str, entities: Mapping[str, str | None], where: str, documents: Mapping[str, Reader]
) -> RawRecord:
    decoded = _decoded(content, encoding)
    if decoded is None:
        return rejected(where, "bad_encoding", f"not {encoding}, as the file says")
    text, encoding = decoded
    try:
        element = parse(text, entities)
    except XmlProblem as problem:
        return rejected(where, "invalid_xml", str(problem))
    name = element.tag.rpartition("}")[2]
    return RawRecord(where, documents[name](element), encoding=encoding)


def _decoded(content: bytes, encoding: str) -> tuple[str, str] | None:
    """Text and its encoding: UTF-8 wherever the bytes are that, for many files say another one; else the declared."""
    for name in ("utf-8", ENCODINGS.get(encoding, encoding)):
        try:
            return content.decode(name), name
        except (UnicodeDecodeError, LookupError):
            continue
    return None
