"""Tables as text."""

from __future__ import annotations

import csv
import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.formats.csv import CSV
from patent_embed.data.raw import RawRecord
from patent_embed.data.records import RecordParser

HEADER = ["公开（公告）号", "标题", "摘要", "IPC分类号"]
ABSTRACT = "一种图像放大装置，包括采集模块、插值模块和输出模块，用于图像缩放。"
ROWS = [[f"CN11000000{i}A", f"一种装置{i}", ABSTRACT, "G06T3/40; H04N5/232"] for i in range(3)]


def written(rows: list[list[str]], delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> str:
    sink = io.StringIO()
    csv.writer(sink, delimiter=delimiter, quoting=quoting, lineterminator="\r\n").writerows(rows)
    return sink.getvalue()


def read(content: bytes) -> list[RawRecord]:
    return list(CSV.read(io.BytesIO(content), "x.csv"))


def usable(records: list[RawRecord]) -> list[str]:
    parsed = [record for raw in records for record in RecordParser().parse_raw(raw)]
    return [record.reason or record.publication_number for record in parsed]


NUMBERS = [row[0] for row in ROWS]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|", "\x01"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_delimiters_and_encodings(delimiter: str, encoding: str) -> None:
    content = written([HEADER, *ROWS], delimiter).encode(encoding)
    assert CSV.recognises("x.txt", content)
    records = read(content)
    assert usable(records) == NUMBERS
    assert [record.source for record in records] == ["x.csv:2", "x.csv:3", "x.csv:4"]
    assert {record.encoding for record in records} == {encoding.removesuffix("-sig")}


@pytest.mark.parametrize(
    ("header", "rows", "encoding"),
    [
        (
            ["公開號", "標題", "摘要", "IPC"],
            [["TW1234567A", "影像放大裝置", "本發明揭露一種影像放大裝置，包含擷取模組與輸出模組。", "G06T3/40"]],
            "big5",
        ),
        (
            ["公開番号", "発明の名称", "要約", "IPC"],
            [["JP1234567A", "画像拡大装置", "画像の縁に沿って補間し、ジャギーを減らす装置を提供する。", "G06T3/40"]],
            "shift_jis",
        ),
        (
            ["공개번호", "발명의명칭", "요약", "IPC"],
            [
                [
                    "KR1234567A",
                    "이미지 확대 장치",
                    "본 발명은 가장자리 방향에 따라 가중치를 선택하는 장치이다.",
                    "G06T3/40",
                ]
            ],
            "euc_kr",
        ),
        (
            ["Publication Number", "Title", "Abstract", "IPC"],
            [["FR1234567A1", "Procédé", "La mémoire est partagée entre deux étages.", "G06T3/40"]],
            "cp1252",
        ),
    ],
)
def test_other_languages(header: list[str], rows: list[list[str]], encoding: str) -> None:
    assert usable(read(written([header, *rows]).encode(encoding))) == [rows[0][0]]


def test_lines_above_the_header_blank_rows_and_rows_of_commas() -> None:
    text = (
        "导出时间: 2024-01-01\r\n\r\n"
        + written([["检索式", "装置", "", ""], HEADER, ROWS[0]])
        + ",,,\r\n" * 40
        + written([ROWS[1]])
    )
    records = read(text.encode("utf-8-sig"))
    assert usable(records) == NUMBERS[:2]
    assert [record.source for record in records] == ["x.csv:5", "x.csv:46"]
    assert usable(read(f"sep=;\r\n{written([HEADER, *ROWS], ';')}".encode())) == NUMBERS


def test_cells_with_line_breaks_delimiters_and_quotes() -> None:
    cell = '说明：\n"一种" 图像, 放大\r\n装置; 包括采集模块、插值模块和输出模块'
    records = read(written([HEADER, [*ROWS[0][:2], cell, ROWS[0][3]], ROWS[1]]).encode())
    assert [record.fields["摘要"] for record in records] == [cell, ABSTRACT]
    assert [record.source for record in records] == ["x.csv:2", "x.csv:5"]


@pytest.mark.parametrize("torn", ['CN9A,"一种,装置,G06T3/40', 'CN9A,一种,"装置', '"CN9A,一种,装置,G06T3/40'])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_quote_that_is_never_closed_costs_its_row(torn: str, times: int) -> None:
    lines = written([HEADER, ROWS[0]]) + f"{torn}\r\n" * times + written([ROWS[1], ROWS[2]])
    found = usable(read(lines.encode()))
    assert [number for number in found if number.startswith("CN1")] == NUMBERS
    assert len(found) == 3 + times  # nothing is swallowed


def test_inches_are_no_quotes() -> None:
    row = ["CN5A", '"5" pipe', 'A pipe of 5" with a flange and a seal.', "F16L9/00"]
    text = "\t".join(HEADER) + "\n" + "\t".join(row) + "\n" + written([ROWS[0]], "\t")
    assert usable(read(text.encode())) == ["CN5A", NUMBERS[0]]


def test_bytes_of_another_encoding_cost_their_row() -> None:
    content = written([HEADER, *ROWS]).encode("gb18030")
    broken = content.replace("一种装置1".encode("gb18030"), b"\xff\xff\xff")
    assert usable(read(broken)) == [NUMBERS[0], "bad_encoding", NUMBERS[2]]


def test_columns_of_one_name_and_rows_of_other_lengths() -> None:
    text = "公开号,标题,摘要,IPC,IPC\nCN1A,装置,x,G06T3/40,H04N5/232,more,cells\nCN2A,装置\n"
    first, second = read(text.encode())
    assert first.fields["IPC"] == ["G06T3/40", "H04N5/232"]
    assert second.fields == {"公开号": "CN2A", "标题": "装置"}


def test_a_long_cell() -> None:
    row = ["CN1A", "装置", ABSTRACT, "G06T3/40", "长" * 200_000]
    (record,) = read(written([[*HEADER, "说明书"], row]).encode())
    assert len(record.fields["说明书"]) == 200_000


@pytest.mark.parametrize("content", [b"", b"\n", b"a,b\n", b",,,\n,,,\n"])
def test_tables_without_rows(content: bytes) -> None:
    assert read(content) == []


def test_what_is_no_table() -> None:
    assert [record.reason for record in read(b"\xff\xff\xff")] == ["bad_encoding"]
    assert not CSV.recognises("readme.txt", b"Title, abstract and all the rest are in the files.\nNothing more.\n")


@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    reasons = Counter(record.reason for record in read("公开号,标题\n".encode() + content))
    assert set(reasons) <= {"", "torn_row", "bad_encoding"}
