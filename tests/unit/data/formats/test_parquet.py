"""Parquet, also as Spark and Hive write it."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.data import archives
from patent_embed.data.formats import parquet
from patent_embed.data.formats.parquet import PARQUET
from patent_embed.data.reading import read_file
from patent_embed.data.records import RecordParser
from tests.conftest import patent
from tests.unit.data.test_reading import read, zipped


def written(table: pa.Table, **options: Any) -> io.BytesIO:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    sink.seek(0)
    return sink


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.dictionary(pa.int32(), pa.string())]
)
def test_texts_of_any_type(kind: pa.DataType) -> None:
    record = patent("CN1A")
    columns = {name: pa.array([record[name]]).cast(kind) for name in ("publication_number", "title", "abstract")}
    codes = pa.array([["G06T3/40"]], pa.list_(pa.binary() if pa.types.is_binary(kind) else pa.string()))
    (raw,) = PARQUET.read(written(pa.table({**columns, "ipc": codes})), "x.parquet")
    parsed = RecordParser().parse_record(raw.fields, raw.source)
    assert (parsed.publication_number, parsed.title, parsed.codes, parsed.source) == (
        *("CN1A", record["title"], ["G06T3/40"]),
        "x.parquet[0]",
    )


def test_bytes_in_another_encoding() -> None:
    text = str(patent("CN1A")["abstract"])
    (raw,) = PARQUET.read(written(pa.table({"abstract": [text.encode("gb18030")]})), "x")
    assert raw.fields["abstract"] == text


def test_a_row_that_python_cannot_hold_is_one_reject() -> None:
    days = pa.array([0, 10**9, 1], pa.int64()).cast(pa.int32()).cast(pa.date32())
    records = list(PARQUET.read(written(pa.table({"publication_date": days})), "x"))
    assert [record.reason for record in records] == ["", "unreadable_file", ""]
    assert [record.source for record in records] == ["x[0]", "x[1]", "x[2]"]


LONG = "绝" * (1 << 14)


def repeated(kind: str, rows: int) -> pa.Table:
    """A long text in each of so many rows."""
    texts = pa.array([LONG])
    column = texts.take(pa.array([0] * rows))
    if kind == "lists":
        column = pa.ListArray.from_arrays(pa.array(range(0, rows + 1, 2)), column)
    return pa.table({"abstract": column})


@pytest.mark.parametrize("inside", [lambda content: content, lambda content: zipped({"a.parquet": content})])
@pytest.mark.parametrize(
    ("kind", "options", "some_are_read"),
    [
        ("pages", {"use_dictionary": False, "compression": "zstd"}, False),  # 10 MB of one text, in a small page
        ("dictionary", {"compression": "zstd"}, True),  # once in the file, and in every row
        ("lists", {}, True),
        ("prefixes", {"use_dictionary": False, "column_encoding": {"abstract": "DELTA_BYTE_ARRAY"}}, True),
        ("nulls", {}, True),
    ],
)
def test_far_more_inside_than_a_file_of_its_size_has(
    monkeypatch: pytest.MonkeyPatch, kind: str, options: dict[str, Any], some_are_read: bool, inside: Any
) -> None:
    monkeypatch.setattr(archives, "_SMALL", 1 << 20)
    monkeypatch.setattr(archives, "LARGEST_RATIO", 1)
    monkeypatch.setattr(parquet, "_BYTES", 1 << 18)
    rows = 200 if kind != "nulls" else 1 << 18
    table = repeated(kind, rows) if kind != "nulls" else pa.table({"abstract": pa.nulls(rows, pa.string())})
    content = inside(written(table, **options).getvalue())
    assert len(content) < 1 << 19
    before = pa.total_allocated_bytes()
    records, most = list[str](), 0
    for raw in read_file("x.zip" if content[:2] == b"PK" else "x.parquet", lambda: io.BytesIO(content)):
        records.append(raw.reason)
        most = max(most, pa.total_allocated_bytes() - before)
    assert records[-1] == "archive_too_large"
    assert set(records[:-1]) == ({""} if some_are_read else set())
    assert most < 4 << 20


def test_small_parquet_files_in_an_archive_share_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is shorter than what is looked at to know it, too."""
    monkeypatch.setattr(archives, "_SMALL", 1 << 20)
    monkeypatch.setattr(archives, "LARGEST_RATIO", 1)
    one = written(repeated("dictionary", 10), compression="zstd").getvalue()  # half of that
    assert len(one) < 4096
    reasons = [record.reason for record in read(zipped({f"{n}.parquet": one for n in range(50)}), "x.zip")]
    assert reasons[-1] == "archive_too_large"
    assert 10 <= len(reasons) < 60


def test_rows_that_share_values_are_all_read_however_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table(
        {"abstract": [f"{n % 7} {LONG}" for n in range(50)], "ipc": [["G06T3/40"] * (n % 3) for n in range(50)]}
    )
    expected = table.to_pylist()
    for bound in (1 << 30, 1 << 18, 1):
        monkeypatch.setattr(parquet, "_BYTES", bound)
        found = list(PARQUET.read(written(table, row_group_size=20), "x"))
        assert [record.fields for record in found] == expected
        assert [record.source for record in found] == [f"x[{n}]" for n in range(50)]
