"""HTML under the name of a spreadsheet."""

from __future__ import annotations

import io

import pytest

from patent_embed.data.raw import RawRecord
from patent_embed.data.reading import read_file
from patent_embed.data.records import RecordParser

ABSTRACT = "一种图像放大装置，包括采集模块、插值模块和输出模块，用于H<sub>2</sub>O的缩放，a&lt;b。"
HEADER = ("公开号", "名称", "摘要", "IPC分类号")


def page(*numbers: str) -> str:
    rows = "".join(
        f"<tr><td>{number}</td><td>一种装置</td><td>{ABSTRACT}</td><td>G06T3/40</td></tr>" for number in numbers
    )
    header = "".join(f"<th>{name}</th>" for name in HEADER)
    tables = f"<table><tr><td>导出结果</td></tr></table><table border=1><tr>{header}</tr>{rows}</table>"
    return f'<html><head><meta charset="gb2312"></head><body>{tables}</body></html>'


def read(content: bytes) -> list[RawRecord]:
    return list(read_file("x.xls", lambda: io.BytesIO(content)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_rows_are_records(encoding: str) -> None:
    records = [
        record for raw in read(page("CN1A", "CN2A").encode(encoding)) for record in RecordParser().parse_raw(raw)
    ]
    assert [(record.source, record.publication_number, record.reason) for record in records] == [
        ("x.xls!2:2", "CN1A", ""),
        ("x.xls!2:3", "CN2A", ""),
    ]
    assert records[0].abstract.endswith("用于H2O的缩放，a<b。")
    assert records[0].layout == "html_table"


def test_pages_that_are_torn_or_have_no_encoding() -> None:
    assert [raw.fields["公开号"] for raw in read(page("CN1A", "CN2A").encode()[:-30])] == ["CN1A", "CN2A"]
    assert [raw.reason for raw in read(b"<html><table>\xff\xff\xff")] == ["bad_encoding"]
    assert read(b"<html><table></table>") == []
