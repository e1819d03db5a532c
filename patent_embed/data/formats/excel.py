"""Spreadsheets: Excel (.xlsx, .xlsm, .xlsb, .xls) and OpenDocument. Each sheet is a table with a header of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, ClassVar

from python_calamine import CalamineError, CalamineWorkbook

from patent_embed.data import archives
from patent_embed.data.formats.base import Format
from patent_embed.data.raw import RawRecord, rejected
from patent_embed.data.tables import records_of

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".ods")
_PARTS = (b"[Content_Types].xml", b"xl/", b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet")


class Excel(Format):
    """A workbook: one record a row, of every sheet."""

    name: ClassVar[str] = "excel"
    order: ClassVar[int] = 15
    suffixes: ClassVar[tuple[str, ...]] = (*_SUFFIXES, ".xls")

    def recognises(self, name: str, head: bytes) -> bool:
        """By the container, and by its suffix or first part: other files are zip archives, too."""
        if head.startswith(_OLE):
            return True
        return archives.is_zip(head) and (name.endswith(self.suffixes) or any(part in head[:200] for part in _PARTS))

    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The rows below each sheet's header, by their numbers."""
        archives.check_size(file)
        try:
            book = CalamineWorkbook.from_filelike(file)
        except CalamineError as error:
            yield rejected(source, "unreadable_file", f"no spreadsheet: {error}")
            return
        for sheet in book.sheet_names:
            place = f"{source}!{sheet}"
            try:
                rows = book.get_sheet_by_name(sheet).iter_rows()
                for number, fields in records_of((number, row) for number, row in enumerate(rows, start=1)):
                    yield RawRecord(f"{place}:{number}", fields)
            except CalamineError as error:
                yield rejected(place, "unreadable_file", f"the sheet cannot be read: {error}")


EXCEL = Excel()
