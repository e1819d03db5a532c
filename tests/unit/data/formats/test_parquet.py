"""Parquet, also as Spark and Hive write it."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.data.formats.parquet import PARQUET
from patent_embed.data.records import RecordParser
from tests.conftest import patent


def written(table: pa.Table) -> io.BytesIO:
    sink = io.BytesIO()
    pq.write_table(table, sink)
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
