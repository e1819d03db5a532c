"""Large files in pieces."""

from __future__ import annotations

import gzip
import io
import json

import pytest

from patent_embed.data import pieces
from patent_embed.data.pieces import Piece, pieces_of, read_piece
from tests.conftest import patent

LINES = [json.dumps(patent(f"CN{i}A"), ensure_ascii=i % 2 == 0).encode() for i in range(20)]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CUT_FROM", 200)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 100)


def cut(content: bytes, name: str = "a.jsonl") -> list[Piece]:
    return pieces_of(name, len(content), lambda: io.BytesIO(content))


@pytest.mark.parametrize("size", [1, 7, 100, 300, 1000, 10**6])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n\n"])
@pytest.mark.parametrize("last", [b"", b"\n"])
def test_every_line_is_in_one_piece(monkeypatch: pytest.MonkeyPatch, size: int, end: bytes, last: bytes) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", size)
    content = end.join(LINES) + last
    found = [raw for piece in cut(content) for raw in read_piece(piece, lambda: io.BytesIO(content))]
    assert [raw.fields["publication_number"] for raw in found] == [f"CN{i}A" for i in range(20)]
    assert [raw.source for raw in found] == [f"a.jsonl@{content.index(line)}" for line in LINES]
    assert {raw.format for raw in found} == {"json"}


def test_a_torn_line_costs_only_itself() -> None:
    content = b"\n".join([*LINES[:5], LINES[5][:-30], b"\xff\xff", *LINES[6:]])
    reasons = [raw.reason for piece in cut(content) for raw in read_piece(piece, lambda: io.BytesIO(content))]
    assert sorted(reasons) == [""] * 19 + ["bad_encoding", "invalid_json"]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"\n".join(LINES)[:150], "a.jsonl"),  # small
        (gzip.compress(b"\n".join(LINES)) + bytes(200), "a.jsonl.gz"),
        (json.dumps([patent("CN1A")] * 5).encode(), "a.json"),
        (json.dumps([patent("CN1A")] * 5, indent=1).encode(), "a.json"),
        (b"\n".join(LINES).decode().encode("utf-16"), "a.jsonl"),
        (b"title,abstract\n" * 50, "a.csv"),
    ],
)
def test_other_files_are_read_whole(content: bytes, name: str) -> None:
    assert cut(content, name) == [Piece(name)]


def test_a_file_that_has_gone() -> None:
    def gone() -> io.BytesIO:
        raise FileNotFoundError("gone")

    assert pieces_of("a.jsonl", 10**9, gone) == [Piece("a.jsonl")]
    assert [raw.reason for raw in read_piece(Piece("a.jsonl", 0, 100), gone)] == ["unreadable_file"]
