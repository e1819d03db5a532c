"""Tables in HTML, as portals hand them out under the name ``.xls``: each table with a header is one of records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from lxml import etree, html

from patent_embed.data.encodings import decode
from patent_embed.data.formats.base import Format
from patent_embed.data.raw import RawRecord, rejected
from patent_embed.data.tables import records_of

_BEGINS = re.compile(
    rb"(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?\s*<(?:!doctype\s+html|html|head|meta|body|style|table)\b", re.IGNORECASE
)
_DECLARED = re.compile(r"<\?xml[^>]*\?>")  # the text is no longer in the encoding that this names
_LARGEST = 256 << 20  # bytes; what stands behind is not read, and a spreadsheet has at most a million rows


class HtmlTable(Format):
    """An HTML page with tables: one record a row."""

    name: ClassVar[str] = "html_table"
    order: ClassVar[int] = 60

    def recognises(self, name: str, head: bytes) -> bool:
        """By a tag at the beginning and a table after it."""
        if b"\x00" in head[:16]:
            head = head.replace(b"\x00", b"")
        return _BEGINS.match(head) is not None and b"<table" in head.lower()

    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The rows below each table's header, by table and row, both from 1."""
        content = file.read(_LARGEST)
        decoded = decode(content)
        if decoded is None:
            yield rejected(source, "bad_encoding", f"no known encoding is sure, starts with {content[:8]!r}")
            return
        parser = html.HTMLParser(no_network=True, huge_tree=True, recover=True)
        try:
            page = html.document_fromstring(_DECLARED.sub("", decoded.text.replace("\x00", "")), parser=parser)
        except (etree.LxmlError, ValueError) as error:
            yield rejected(source, "unreadable_file", f"no HTML: {error}")
            return
        for number, table in enumerate(page.iter("table"), start=1):
            rows = ((row, _cells(line)) for row, line in enumerate(table.iter("tr"), start=1))
            for row, fields in records_of(rows):
                yield RawRecord(f"{source}!{number}:{row}", fields, encoding=decoded.encoding)


def _cells(row: html.HtmlElement) -> list[str]:
    return [" ".join(cell.text_content().split()) for cell in row if cell.tag in ("td", "th")]


HTML_TABLE = HtmlTable()
