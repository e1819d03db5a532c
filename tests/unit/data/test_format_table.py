"""Each row of docs/formats.md: what is read, with the right values, in a messy variant, and for what it is rejected."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.data.formats.base import FORMATS
from patent_embed.data.raw import REASONS
from patent_embed.data.records import Record, RecordParser
from patent_embed.data.shapes.base import SHAPES
from tests.conftest import ROOT, patent
from tests.unit.data.formats.test_excel import HEADER, ROWS, xls, xlsx
from tests.unit.data.formats.test_html_table import page
from tests.unit.data.test_reading import zipped

PAGE = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| (`[^|]*`) \|.*\|([^|]*)\|$", re.MULTILINE)
NAME = re.compile(r"`(\w+)`")

ONE, TWO = patent("CN110000001A"), patent("CN110000002A")
ABSTRACT = str(ONE["abstract"])


class Row(NamedTuple):
    """A good file, its places; a messy one; a bad one with its reason. Both of the first have CN110000001A and …2A."""

    good: tuple[str, bytes]
    places: list[str]
    messy: tuple[str, bytes]
    bad: tuple[str, bytes]
    reason: str


def dumped(value: Any, **how: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, **how).encode()


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def columns(as_bytes: bool) -> pa.Table:
    kind = pa.binary() if as_bytes else pa.string()
    rows = [(row["publication_number"], row["title"], row["abstract"], "G06T3/40") for row in (ONE, TWO)]
    names = ("publication_number", "title", "abstract", "ipc")
    return pa.table(
        {name: pa.array(values).cast(kind) for name, values in zip(names, zip(*rows, strict=True), strict=True)}
    )


CHINESE = {
    "公开（公告）号": "CN110000001A",
    "申请号": "CN201910000001.0",
    "标题": "一种装置",
    "摘要": ABSTRACT,
    "IPC": "G06T3/40",
}
SECOND = CHINESE | {"公开（公告）号": "CN110000002A"}
VENDOR = [
    {
        "\ufeff公开(公告)号 ": "CN110000001A",
        "标题(译)(简体中文)": "一种装置",
        "摘要 (中文)": ABSTRACT,
        "主IPC分类号-小组": "G06T3/40",
    },
    {
        "biblio": {"publicationNumber": "CN110000002A", "Title-题名": "一种装置"},
        "Abstract": ABSTRACT,
        "cpc": ["G06T3/40"],
    },
]
TABLE = "公开号,标题,摘要,IPC\n" + "".join(f"CN11000000{i}A,装置,{ABSTRACT},G06T3/40\n" for i in (1, 2))
TEXT = f"公开号：CN110000001A\n标题：一种装置\n摘要：{ABSTRACT}\nIPC：G06T3/40\n"
SHEET = [HEADER, ["CN110000001A", *ROWS[0][1:]], ["CN110000002A", *ROWS[1][1:]]]
TORN = TABLE.replace("CN110000002A", 'CN110000003A,"x\nCN110000002A')

ROWS_OF_THE_PAGE = {
    "json": Row(
        ("a.json", dumped([ONE, TWO])),
        ["a.json[0]", "a.json[1]"],
        ("a.jsonl", b"[\n" + dumped(ONE) + b",\n" + dumped(TWO).decode().encode("gb18030") + b",\n"),
        ("a.json", b'{"publication_number": '),
        "invalid_json",
    ),
    "parquet": Row(
        ("a.parquet", parquet(columns(as_bytes=False))),
        ["a.parquet[0]", "a.parquet[1]"],
        ("a.parquet", parquet(columns(as_bytes=True))),
        ("a.parquet", b"PAR1 torn"),
        "unreadable_file",
    ),
    "csv": Row(
        ("a.csv", TABLE.encode()),
        ["a.csv:2", "a.csv:3"],
        ("a.tsv", ("检索结果\n\n" + TABLE.replace(",", "\t") + "\t\t\t\n").encode("utf-16")),
        ("a.csv", TORN.encode()),
        "torn_row",
    ),
    "excel": Row(
        ("a.xlsx", xlsx({"Sheet1": SHEET})),
        ["a.xlsx!Sheet1:2", "a.xlsx!Sheet1:3"],
        ("a.xls", xls([["检索结果"], [], *SHEET])),
        ("a.xlsx", xlsx({"Sheet1": SHEET})[:900]),
        "unreadable_file",
    ),
    "html_table": Row(
        ("a.xls", page("CN110000001A", "CN110000002A").encode()),
        ["a.xls!2:2", "a.xls!2:3"],
        ("a.xls", page("CN110000001A", "CN110000002A").encode("gb18030")[:-30]),
        ("a.xls", b"<html><table>\xff\xff\xff"),
        "bad_encoding",
    ),
    "labelled_text": Row(
        ("a.txt", f"{TEXT}\n{TEXT.replace('0001A', '0002A')}".encode()),
        ["a.txt:1", "a.txt:6"],
        ("a.txt", f"{TEXT}\n{TEXT.replace('0001A', '0002A')}".replace("：", "\n  ").encode("gb18030")),
        ("a.txt", b"id-CN110000001A  abstract-\xff\xff\xff"),
        "bad_encoding",
    ),
    "plain": Row(
        ("a.json", dumped([CHINESE, SECOND])),
        ["a.json[0]", "a.json[1]"],
        ("a.json", dumped(VENDOR)),
        ("a.json", dumped({"标题": "一种装置", "摘要": ABSTRACT})),
        "missing_publication_number",
    ),
    "envelopes": Row(
        ("a.json", dumped({"total": 2, "data": [ONE, TWO]})),
        ["a.json.data[0]", "a.json.data[1]"],
        ("a.json", dumped({name: {"0": ONE[name], "1": TWO[name]} for name in ONE})),
        ("a.json", dumped({"total": 0, "data": []})),
        "missing_publication_number",
    ),
    "archives": Row(
        ("a.zip", zipped({"b.json": dumped(ONE), "c/d.jsonl.gz": gzip.compress(dumped(TWO))})),
        ["a.zip!b.json", "a.zip!c/d.jsonl.gz:1"],
        ("a.json", gzip.compress(gzip.compress(dumped(ONE) + b"\n") + gzip.compress(dumped(TWO)))),
        ("a.zip", zipped({"b.json": dumped(ONE)})[:80]),
        "unreadable_file",
    ),
}


def read(file: tuple[str, bytes]) -> list[Record]:
    name, content = file
    return list(RecordParser().parse_file(Path(name), name, lambda: io.BytesIO(content)))


@pytest.mark.parametrize("name", ROWS_OF_THE_PAGE)
def test_a_row(name: str) -> None:
    row = ROWS_OF_THE_PAGE[name]
    good, messy, bad = read(row.good), read(row.messy), read(row.bad)
    for records in (good, messy):
        assert [record.publication_number for record in records] == ["CN110000001A", "CN110000002A"]
        assert {record.reason for record in records} == {""}
        assert all(record.codes[0] == "G06T3/40" and record.title and record.abstract for record in records)
    assert [record.source for record in good] == row.places
    assert row.reason in [record.reason for record in bad]
    assert all(record.detail for record in bad if record.reason)


def test_every_format_and_shape_has_a_row_and_a_test() -> None:
    named = [name for cells, _ in ROW.findall(PAGE) for name in NAME.findall(cells)]
    modules = {"envelopes", "archives"}
    assert set(named) - set(REASONS) == {each.name for registry in (FORMATS, SHAPES) for each in registry} | modules
    tests = {path.stem.removeprefix("test_") for path in (ROOT / "tests" / "unit" / "data").rglob("test_*.py")}
    assert set(named) - set(REASONS) <= tests


def test_every_reason_is_explained() -> None:
    explained = {name for cells, _ in ROW.findall(PAGE) for name in NAME.findall(cells)} & set(REASONS)
    explained |= set(NAME.findall(PAGE.split("| reason |")[1])) & set(REASONS)
    assert explained == set(REASONS)
    for _, rejects in ROW.findall(PAGE.split("## What holds")[0]):
        assert set(NAME.findall(rejects)) <= set(REASONS)
