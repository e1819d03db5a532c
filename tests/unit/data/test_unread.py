"""Files that could not be read are looked at again when they have become others."""

from __future__ import annotations

import os
from pathlib import Path

from patent_embed.data.unread import changed, digests_of_unread
from patent_embed.folders import folder_at


def test_a_torn_file_is_looked_at_again_when_its_content_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"torn")
    found = digests_of_unread(folder_at(tmp_path), [("a.zip!b.json", "BadZipFile: cut")], ["a.zip", "c.json"])
    assert list(found) == ["a.zip"]
    assert changed(folder_at(tmp_path), found) == []
    time = path.stat().st_mtime_ns
    path.write_bytes(b"full")  # of the same size,
    os.utime(path, ns=(time, time))  # and of the same time
    assert changed(folder_at(tmp_path), found) == ["a.zip"]


def test_what_the_system_refused_is_looked_at_as_soon_as_it_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a@b.json"
    path.write_bytes(b"{}")
    rejects = [("a@b.json", "PermissionError: [Errno 13]"), ("a@b.json", "JSONDecodeError: x")]
    found = digests_of_unread(folder_at(tmp_path), rejects, ["a@b.json"])
    assert found == {"a@b.json": ""}
    assert changed(folder_at(tmp_path), found) == ["a@b.json"]
    path.unlink()
    assert changed(folder_at(tmp_path), found) == []  # it still cannot be read
