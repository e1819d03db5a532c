"""Whatever a patent holds: nothing is raised, and every record becomes a patent or a reject with a reason."""

from __future__ import annotations

import datetime as dt
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from benchmarks.fuzz_records import LONG, check
from patent_embed.data.raw import REASONS
from patent_embed.data.records import PatentTextParser, RecordParser, TextParser, to_table

GOOD: dict[str, Any] = {
    "publication_number": "CN110000001A",
    "title": "一种图像放大装置",
    "abstract": LONG,
    "classifications": ["G06T3/40"],
}
FIELDS = (*GOOD, "claims", "description", "citations", "family_id", "publication_date", "applicants", "\ud800")
CHARACTERS = st.characters(exclude_categories=())  # also halves of surrogate pairs
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(CHARACTERS, max_size=30)
    | st.binary(max_size=10)
    | st.dates()
    | st.datetimes()
    | st.decimals()
    | st.timedeltas()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(CHARACTERS, max_size=6) | st.sampled_from(["code", "text", "lang", "zh"]), inner)
    ),
    max_leaves=10,
)
PARSERS = [RecordParser(), PatentTextParser(), TextParser(text_column="abstract", id_column="publication_number")]


def nested(depth: int, kind: type) -> Any:
    value: Any = "G06T3/40"
    for _ in range(depth):
        value = [value] if kind is list else {"code": value}
    return value


@given(record=st.dictionaries(st.sampled_from(FIELDS), VALUES), parser=st.sampled_from(PARSERS))
@example(record=GOOD | {"title": "\ud800", "\udfff": 1}, parser=PARSERS[0])
@example(record=GOOD | {"abstract": LONG + "\udfff"}, parser=PARSERS[2])
@example(
    record=GOOD | {"publication_date": dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=23)))},
    parser=PARSERS[0],
)
def test_any_record(record: dict[str, Any], parser: RecordParser) -> None:
    found = parser.parse_record(record, "x")
    assert found.reason in ("", *REASONS)
    table = to_table([found])
    assert table.num_rows == 1


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("depth", [400, 5000])
@pytest.mark.parametrize("field", [*GOOD, "claims", "citations", "applicants", "publication_date", "family_id"])
def test_fields_that_are_nested_deeply(field: str, depth: int, kind: type) -> None:
    for value in (nested(depth, kind), "[" * depth, '["' * depth, "(" * depth):
        for parser in PARSERS:
            record = parser.parse_record(GOOD | {field: value}, "x")
            assert record.reason in ("", *REASONS)
            assert to_table([record]).num_rows == 1


@pytest.mark.parametrize("kind", [list, dict])
@pytest.mark.parametrize("depth", [400, 100_000])
@pytest.mark.parametrize("name", ["x.json", "x.jsonl", "x.csv", "x.xml", "x.txt"])
def test_files_that_are_nested_deeply(name: str, depth: int, kind: type) -> None:
    opens, closes = ("[", "]") if kind is list else ('{"code": ', "}")
    codes = f'{opens * depth}"G06T3/40"{closes * depth}'
    whole = json.dumps(GOOD)
    bad = whole.replace('["G06T3/40"]', codes)
    records = check(RecordParser(), name, f"{bad}\n{whole}\n".encode())
    assert all(record.reason in ("", *REASONS) for record in records)
    if name.startswith("x.json"):
        assert len(records) == 2
        assert records[1].reason == ""


def parquet(column: pa.Array) -> bytes:
    sink = io.BytesIO()
    columns = {name: pa.array([str(value)] * len(column)) for name, value in GOOD.items() if name != "classifications"}
    columns |= {"classifications": pa.array(["G06T3/40"] * len(column)), "title": columns["title"], "公开日": column}
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 3_000_000, 0], pa.int32()).cast(pa.date32()),  # a day in the year 10183
        pa.array([0, -(2**30), 0], pa.int32()).cast(pa.date32()),
        pa.array([0, 2**40, 0], pa.timestamp("s")),
        pa.array([0, 2**62, 0], pa.timestamp("us", "Asia/Shanghai")),
        pa.array([0, -(2**63), 0], pa.duration("s")),
        pa.Array.from_buffers(
            pa.string(), 3, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0\4\0\0\0"), pa.py_buffer(b"a\xff\xfeb")]
        ),
    ],
    ids=["date", "early date", "seconds", "zone", "duration", "bytes"],
)
def test_parquet_that_python_cannot_hold(column: pa.Array) -> None:
    records = check(RecordParser(), "x.parquet", parquet(column))
    assert len(records) == 3
    assert [records[0].reason, records[2].reason] == ["", "duplicate_publication_number"] or all(
        record.reason in ("", "unreadable_file") for record in records
    )
