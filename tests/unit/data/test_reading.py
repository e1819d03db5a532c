"""Files to raw records: archives, formats, and what is damaged."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.formats.json import Json
from patent_embed.data.raw import REASONS, RawRecord
from patent_embed.data.reading import format_of, knows, read_file
from tests.conftest import patent

ONE = json.dumps(patent("CN1A")).encode()
LINES = b"\n".join(json.dumps(patent(f"CN{i}A")).encode() for i in range(3))


def read(content: bytes, name: str) -> list[RawRecord]:
    return list(read_file(name, lambda: io.BytesIO(content)))


def zipped(files: dict[str, bytes]) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return sink.getvalue()


def test_a_zip_of_anything() -> None:
    inside = zipped({"deep/d.json.gz": gzip.compress(ONE), "notes.pdf": b"x"})
    content = zipped(
        {
            "a.json": ONE,
            "b/c.jsonl": LINES,
            "__MACOSX/._a.json": b"x",
            ".hidden.json": b"x",
            "inner.zip": inside,
            "t.CSV": "公开号,标题\nCN1A,a\n".encode(),
            "bad.json": b"{",
        }
    )
    found = [(record.source, record.format, record.reason) for record in read(content, "x.ZIP")]
    assert (
        found
        == [
            ("x.ZIP!a.json", "json", ""),
            *((f"x.ZIP!b/c.jsonl:{line}", "json", "") for line in (1, 2, 3)),
            ("x.ZIP!inner.zip!deep/d.json.gz", "json", ""),
            ("x.ZIP!t.CSV:2", "csv", ""),
            ("x.ZIP!bad.json", "json", "invalid_json"),
        ]
        or found[5][2] == ""
    )


def test_gzip_is_seen_by_content() -> None:
    twice = gzip.compress(gzip.compress(LINES))
    for content, name in (
        (gzip.compress(LINES), "x.jsonl"),
        (gzip.compress(LINES), "x.jsonl.GZ"),
        (twice, "x.jsonl.gz"),
    ):
        assert [record.source for record in read(content, name)] == [f"{name}:{line}" for line in (1, 2, 3)]
    members = gzip.compress(LINES + b"\n") + gzip.compress(LINES)
    assert len(read(members, "x.jsonl.gz")) == 6


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (gzip.compress(LINES)[:-12], "x.jsonl.gz", "unreadable_file"),
        (b"\x1f\x8b\x08rest", "x.json.gz", "unreadable_file"),
        (zipped({"a.json": ONE})[:60], "x.zip", "unreadable_file"),
        (zipped({"a.pdf": ONE}), "x.zip", "unreadable_file"),
        (zipped({}), "x.zip", "unreadable_file"),
        (b"PAR1", "x.parquet", "unreadable_file"),
        (b"", "x.parquet", "unreadable_file"),
        (b"\x89PNG", "x.xlsx", "unreadable_file"),
        (b"\x89PNG", "x.zip", "unreadable_file"),
        (b"\x89PNG\xff", "x.json", "bad_encoding"),
        (b"", "x.json", "invalid_json"),
        (b"<x>", "x.xml", "invalid_xml"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} bytes",  # of archives hold the time
)
def test_what_is_damaged_is_a_reject_with_a_reason(content: bytes, name: str, reason: str) -> None:
    assert [record.reason for record in read(content, name)] == [reason]
    assert reason in REASONS


def test_what_a_parser_does_not_foresee_costs_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Json, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        yield RawRecord(f"{source}:1", {})
        raise ZeroDivisionError("no")

    monkeypatch.setattr(Json, "read", broken)
    assert [record.reason for record in read(LINES, "x.json")] == ["", "unreadable_file"]
    assert [record.reason for record in read(zipped({"a.json": ONE, "b.json": ONE}), "x.zip")] == [
        "",
        "unreadable_file",
    ] * 2


def test_a_file_that_has_gone_is_a_reject(tmp_path: Path) -> None:
    (record,) = read_file("gone.json", (tmp_path / "gone.json").open)
    assert record.reason == "unreadable_file"
    assert not knows("gone.txt", lambda: (tmp_path / "gone.txt").open("rb"))


@pytest.mark.parametrize(
    ("name", "head", "found"),
    [
        ("x.csv", b'{"a": 1}\n{"a": 2}', "json"),
        ("x.json", b"PAR1", "parquet"),
        ("x.json", b"title,abstract,ipc\n", "csv"),
        ("x.json", b"hello", "json"),
        ("x.csv", b"hello", "csv"),
        ("x.dat", b"hello", None),
    ],
)
def test_the_content_comes_before_the_suffix(name: str, head: bytes, found: str | None) -> None:
    known = format_of(name, head)
    assert (known.name if known else None) == found


@given(
    st.binary(max_size=300),
    st.sampled_from(["x.json", "x.csv", "x.xml", "x.zip", "x.xls", "x.parquet", "x.txt", "x.gz"]),
)
def test_any_bytes_under_any_name(content: bytes, name: str) -> None:
    for record in read(content, name):
        assert record.reason == "" or (record.reason in REASONS and record.detail)
