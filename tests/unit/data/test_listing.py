"""Files below a data root."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patent_embed.data.inputs import find_input
from patent_embed.data.listing import DANGLING_LINK, NAME_NOT_UTF8, NOT_A_FILE, UNREADABLE_FOLDER, files_below
from patent_embed.folders import folder_at


def names(root: Path) -> list[str]:
    return [entry.name for entry in files_below(folder_at(root)).entries]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("data/a.json", "data/deep/b.json", "elsewhere/c.json", "elsewhere/sub/d.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return tmp_path / "data"


def test_a_link_to_a_folder_is_followed(root: Path) -> None:
    (root / "linked").symlink_to(root.parent / "elsewhere")
    assert names(root) == ["a.json", "deep/b.json", "linked/c.json", "linked/sub/d.json"]


def test_a_loop_of_links_ends_and_no_folder_is_read_twice(root: Path) -> None:
    (root / "deep" / "up").symlink_to(root)
    (root / "again").symlink_to(root / "deep")
    (root / "x").symlink_to(root / "y")
    (root / "y").symlink_to(root / "x")
    (root / "one").symlink_to(root.parent / "elsewhere")
    (root / "two").symlink_to(root.parent / "elsewhere" / "sub")
    listing = files_below(folder_at(root))
    assert [entry.name for entry in listing.entries] == ["a.json", "deep/b.json", "one/c.json", "one/sub/d.json"]
    assert [(each.name, each.reason) for each in listing.unseen] == [("x", DANGLING_LINK), ("y", DANGLING_LINK)]


def test_the_root_may_be_a_link(root: Path) -> None:
    (root.parent / "link").symlink_to(root)
    assert names(root.parent / "link") == ["a.json", "deep/b.json"]


def test_what_cannot_be_looked_at_is_named(root: Path) -> None:
    (root / "gone.json").symlink_to(root / "nowhere.json")
    (root / "shut").mkdir()
    (root / "shut" / "e.json").write_text("{}")
    os.mkfifo(root / "pipe.json")
    (root / "shut").chmod(0)
    try:
        listing = files_below(folder_at(root))
    finally:
        (root / "shut").chmod(0o755)
    assert [entry.name for entry in listing.entries if not entry.name.startswith("shut")] == ["a.json", "deep/b.json"]
    shut = [("shut", UNREADABLE_FOLDER)] if os.geteuid() else []  # root may look
    unseen = [(each.name, each.reason) for each in listing.unseen]
    assert unseen == [("gone.json", DANGLING_LINK), ("pipe.json", NOT_A_FILE), *shut]


def test_an_absent_folder_has_none(tmp_path: Path) -> None:
    listing = files_below(folder_at(tmp_path / "none"))
    assert (listing.entries, listing.unseen) == ([], [])


def test_sizes_and_times(root: Path) -> None:
    entry = files_below(folder_at(root)).entries[0]
    assert (entry.size, entry.mtime_ns) == (2, (root / "a.json").stat().st_mtime_ns)


def test_a_store(s3: str) -> None:
    folder = folder_at(f"{s3}/listing")
    folder.write("a/b.json", b"{}")
    assert [entry.name for entry in files_below(folder).entries] == ["a/b.json"]


def test_names_that_are_no_utf8_are_named_and_not_read(root: Path) -> None:
    (root / os.fsdecode(b"\xff.json")).write_text("{}")
    (root / os.fsdecode(b"\xd6\xd0")).mkdir()
    (root / os.fsdecode(b"\xd6\xd0") / "f.json").write_text("{}")
    listing = files_below(folder_at(root))
    assert [entry.name for entry in listing.entries] == ["a.json", "deep/b.json"]
    assert [(each.name, each.reason) for each in listing.unseen] == [
        ("\\udcd6\\udcd0", NAME_NOT_UTF8),
        ("\\udcff.json", NAME_NOT_UTF8),
    ]
    assert [each.name for each in find_input(str(root)).unseen] == [each.name for each in listing.unseen]
