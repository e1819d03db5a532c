"""JSON by content."""

from __future__ import annotations

import codecs
import gzip
import io
import itertools
import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.formats import json as json_format
from patent_embed.data.formats.json import JSON
from patent_embed.data.raw import RawRecord
from tests.conftest import patent

RECORDS = [patent(f"CN{i}A") for i in range(1, 4)]
LINES = [json.dumps(record, ensure_ascii=False) for record in RECORDS]


def read(content: bytes, source: str = "x.json") -> list[RawRecord]:
    return list(JSON.read(io.BytesIO(content), source))


def numbers(records: list[RawRecord]) -> list[str]:
    return [record.reason or record.fields["publication_number"] for record in records]


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("\n".join(LINES), [":1", ":2", ":3"]),
        ("\r\n".join(LINES) + "\r\n", [":1", ":2", ":3"]),
        ("\n\n" + "\n\n".join(LINES), [":3", ":5", ":7"]),
        (",\n".join(LINES), [":1", ":2", ":3"]),
        (",\n".join(LINES) + ",\n", [":1", ":2", ":3"]),
        ("[\n" + ",\n".join(LINES) + "\n]", ["[0]", "[1]", "[2]"]),
        ("[\n" + ",\n".join(LINES) + ",\n]", [":2", ":3", ":4"]),
        ("[" + ",\n".join(LINES) + "]\n", ["[0]", "[1]", "[2]"]),
        ("[" + ",\n".join(LINES) + ",", [":1", ":2", ":3"]),  # cut off
        ("[\n" + "\n,".join(LINES) + "\n]", ["[0]", "[1]", "[2]"]),
        (json.dumps(RECORDS), ["[0]", "[1]", "[2]"]),
        (json.dumps(RECORDS, indent=2), ["[0]", "[1]", "[2]"]),
        ("".join(LINES), [":1", ":1", ":1"]),
        (" ".join(LINES), [":1", ":1", ":1"]),
        ("\x1e" + "\n\x1e".join(LINES) + "\n", [":1", ":2", ":3"]),  # RFC 7464
        ("\n".join(json.dumps(record, indent=1) for record in RECORDS), [":1", ":11", ":21"]),
        ("\n".join(json.dumps([record]) for record in RECORDS), [":1[0]", ":2[0]", ":3[0]"]),
        ("\n".join(str(record) for record in RECORDS), [":1", ":2", ":3"]),  # Python's
    ],
)
@pytest.mark.parametrize("source", ["x.json", "x.jsonl"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030"])
def test_every_layout_gives_every_record(text: str, places: list[str], source: str, encoding: str) -> None:
    content = text.encode(encoding)
    assert JSON.recognises("x", content[:4096]) or text.startswith(("\x1e", "\n\n"))
    records = read(content, source)
    assert numbers(records) == ["CN1A", "CN2A", "CN3A"]
    assert [record.source for record in records] == [f"{source}{place}" for place in places]


def test_one_object_is_the_file_itself() -> None:
    for text in (LINES[0], json.dumps(RECORDS[0], indent=1), f"\n {LINES[0]} \n"):
        assert [record.source for record in read(text.encode())] == ["x.json"]
    assert [record.source for record in read(LINES[0].encode(), "x.JSONL")] == ["x.JSONL:1"]


@pytest.mark.parametrize(
    "text",
    [
        '{"publication_number": "CN1A", "score": NaN}',
        '{"publication_number": "CN1A", "big": 123456789012345678901234567890}',
        '{"publication_number": "CN1A", "text": "a\tb\nc"}',
        '{"publication_number": "CN1A", "text": "\\ud800"}',
        '{"publication_number": "CN1A", "text": ["a,}", "b", ], }',
    ],
)
def test_what_strict_readers_refuse(text: str) -> None:
    assert numbers(read(text.encode())) == ["CN1A"]
    if "\n" not in text:
        assert numbers(read(f"{text}\n{text}\n".encode())) == ["CN1A", "CN1A"]


@pytest.mark.parametrize("source", ["x.json", "x.jsonl"])
def test_a_torn_line_costs_only_itself(source: str) -> None:
    lines = ['{"torn', *LINES, LINES[0][:-20], LINES[1], '"text"', "12", "not json"]
    records = read("\n".join(lines).encode(), source)
    assert Counter(record.reason for record in records) == {"invalid_json": 3, "": 6}
    assert [record.fields for record in records[6:8]] == ["text", 12]  # no objects: the parser says so
    mixed = [LINES[0].encode(), LINES[1].encode("gb18030"), b'{"a": "\xff\xff\xff"}', LINES[2].encode()]
    assert numbers(read(b"\n".join(mixed), source)) == ["CN1A", "CN2A", "bad_encoding", "CN3A"]


def test_a_broken_value_ends_before_the_next_one() -> None:
    pretty = [json.dumps(record, indent=1) for record in RECORDS]
    text = "\n".join([pretty[0], pretty[1][:60], pretty[2]])
    assert numbers(read(text.encode())) == ["CN1A", "invalid_json", "CN3A"]


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        (b"", ["invalid_json"]),
        (b" \n\t", ["invalid_json"]),
        (codecs.BOM_UTF8, ["invalid_json"]),
        (b'{"a": ', ["invalid_json"]),
        (b"[" * 100_000, ["invalid_json"]),
        (b'{"a":' * 100_000, ["invalid_json"]),
        (b"\xff\xff\xff", ["bad_encoding"]),
        (b"[]", []),
        (b"{}", [""]),
        (b"[1]", [""]),
        (b"null", [""]),
    ],
)
def test_odd_contents(content: bytes, reasons: list[str]) -> None:
    assert [record.reason for record in read(content)] == reasons


def test_lines_that_no_encoding_is_sure_of_are_a_reject_each() -> None:
    lines = ['{"title": "Устройство для измерения температуры воздуха"}'.encode("cp1251")] * 3
    assert [(record.source, record.reason) for record in read(b"\n".join(lines))] == [
        (f"x.json:{line}", "bad_encoding") for line in (1, 2, 3)
    ]


def test_what_is_no_json_is_not_looked_through_for_ever() -> None:
    assert len(read(b"{\n" * 100_000)) < 300


def test_an_empty_file_of_lines_has_no_record() -> None:
    assert read(b"\n", "x.jsonl.gz") == []


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_large_file_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    monkeypatch.setattr(json_format, "_LINES_FROM", 100)
    content = "\n".join(LINES * 40).encode(encoding)
    assert numbers(read(content)) == ["CN1A", "CN2A", "CN3A"] * 40
    assert numbers(read(json.dumps(RECORDS).encode(encoding))) == ["CN1A", "CN2A", "CN3A"]
    assert numbers(read(json.dumps(RECORDS, indent=1).encode(encoding))) == ["CN1A", "CN2A", "CN3A"]


def test_a_cut_file_gives_the_lines_before_the_cut() -> None:
    content = gzip.compress("\n".join(LINES * 4000).encode())[:-900]
    records = JSON.read(io.BufferedReader(gzip.GzipFile(fileobj=io.BytesIO(content))), "x.jsonl")
    assert {record.reason for record in itertools.islice(records, 1000)} == {""}
    with pytest.raises(EOFError):
        list(records)


@given(st.binary(max_size=300))
def test_any_bytes(content: bytes) -> None:
    read(content)
    read(b'{"a": 1}\n' + content + b'\n{"a": 2}\n', "x.jsonl")
