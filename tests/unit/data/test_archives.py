"""Archives: damaged, encrypted, far too large."""

from __future__ import annotations

import gzip
import io
import zipfile

import pytest

from patent_embed.data import archives
from tests.unit.data.test_reading import ONE, read, zipped


def test_a_damaged_file_of_an_archive_leaves_the_others() -> None:
    sink = io.BytesIO(zipped({"a.json": ONE, "b.json": ONE, "c.json": ONE}))
    with zipfile.ZipFile(sink) as archive:
        place = archive.getinfo("b.json").header_offset + 40
    content = bytearray(sink.getvalue())
    content[place : place + 20] = bytes(20)
    assert [record.reason for record in read(bytes(content), "x.zip")] == ["", "unreadable_file", ""]


def test_an_encrypted_file_of_an_archive_is_a_reject() -> None:
    content = bytearray(zipped({"a.json": ONE, "b.json": ONE}))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    records = read(bytes(content), "x.zip")
    assert [record.reason for record in records] == ["unreadable_file", ""]
    assert "encrypted" in records[0].detail


@pytest.mark.parametrize("name", ["x.json.gz", "x.zip"])
def test_bombs(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(archives, "_SMALL", 1 << 20)
    bomb = b"[" + b" " * (20 << 20) + b"]"
    content = gzip.compress(bomb) if name.endswith(".gz") else zipped({"a.json": ONE, "b.json": bomb, "c.json": ONE})
    reasons = [record.reason for record in read(content, name)]
    assert reasons[-1] == "archive_too_large"
    assert reasons[:-1] == ([] if name.endswith(".gz") else [""])


@pytest.mark.parametrize("name", ["x.json.gz", "x.zip"])
def test_bombs_in_bombs(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """What an archive in an archive may hold is measured by the file on the disk: 60 GB would come of these 300 KB."""
    monkeypatch.setattr(archives, "_SMALL", 1 << 22)
    inner = gzip.compress(b"[" + b" " * (3 << 20) + b"]")  # below the limit itself
    if name.endswith(".gz"):
        content = gzip.compress(gzip.compress(gzip.compress(b"[" + b" " * (40 << 20) + b"]")))
    else:
        content = zipped({f"{number}.json.gz": inner for number in range(50)})
    assert len(content) * archives.LARGEST_RATIO < 3 << 23
    reasons = [record.reason for record in read(content, name)]
    assert reasons[-1] == "archive_too_large"
    assert len(reasons) < 20


def test_archives_in_archives_end() -> None:
    content = ONE
    for _ in range(archives.DEEPEST + 2):
        content = zipped({"a.zip": content}) if content is not ONE else zipped({"a.json": ONE})
    assert [record.reason for record in read(content, "x.zip")] == ["unreadable_file"]
