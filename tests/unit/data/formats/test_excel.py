"""Spreadsheets."""

from __future__ import annotations

import datetime as dt
import io
import zipfile
from typing import Any

import openpyxl
import pytest
import xlwt

from patent_embed.data import archives
from patent_embed.data.raw import RawRecord
from patent_embed.data.reading import read_file
from patent_embed.data.records import RecordParser

HEADER = ["公开（公告）号", "标题", "摘要", "IPC", "公开日"]
ABSTRACT = "一种图像放大装置，包括采集模块、插值模块和输出模块，用于图像缩放。"
ROWS: list[list[Any]] = [
    ["CN110000001A", "一种装置", ABSTRACT, "G06T3/40", dt.datetime(2020, 1, 31)],
    [10000002, "装置二", ABSTRACT, "G06T3/40; H04N5/232", "2020.01.31"],
]


def xlsx(sheets: dict[str, list[list[Any]]]) -> bytes:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def xls(rows: list[list[Any]]) -> bytes:
    book = xlwt.Workbook()
    sheet = book.add_sheet("专利")
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            sheet.write(number, column, str(cell) if isinstance(cell, dt.datetime) else cell)
    sink = io.BytesIO()
    book.save(sink)
    return sink.getvalue()


def read(content: bytes, name: str) -> list[RawRecord]:
    return list(read_file(name, lambda: io.BytesIO(content)))


def check(records: list[RawRecord]) -> None:
    parsed = [record for raw in records for record in RecordParser().parse_raw(raw)]
    assert [(record.publication_number, record.reason) for record in parsed] == [("CN110000001A", ""), ("10000002", "")]
    assert [record.codes for record in parsed] == [["G06T3/40"], ["G06T3/40", "H04N5/232"]]
    assert [record.publication_date for record in parsed] == ["2020-01-31"] * 2
    assert {record.layout for record in parsed} == {"excel"}


def test_xlsx_with_a_title_above_the_header_and_other_sheets() -> None:
    sheets = {"说明": [["导出说明"]], "专利": [["检索结果", None], [], HEADER, *ROWS, [None] * 5], "空": []}
    records = read(xlsx(sheets), "x.XLSX")
    check(records)
    assert [record.source for record in records] == ["x.XLSX!专利:4", "x.XLSX!专利:5"]


def test_two_sheets_of_patents() -> None:
    records = read(xlsx({"a": [HEADER, ROWS[0]], "b": [HEADER, ROWS[1]]}), "x.xlsx")
    check(records)
    assert [record.source for record in records] == ["x.xlsx!a:2", "x.xlsx!b:2"]


def test_xls() -> None:
    check(read(xls([HEADER, *ROWS]), "x.xls"))


def test_text_under_a_spreadsheets_name() -> None:
    text = "\n".join("\t".join(map(str, row)) for row in [HEADER, *ROWS])
    records = read(text.encode("utf-16"), "x.xls")
    assert [record.format for record in records] == ["csv", "csv"]


def test_damaged_ones() -> None:
    whole = xlsx({"a": [HEADER, *ROWS]})
    for content in (whole[:-200], whole[:2000], b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)):
        assert [record.reason for record in read(content, "x.xlsx")] == ["unreadable_file"]


def test_a_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "_SMALL", 1 << 20)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("xl/worksheets/sheet1.xml", bytes(20 << 20))
    assert [record.reason for record in read(sink.getvalue(), "x.xlsx")] == ["archive_too_large"]
