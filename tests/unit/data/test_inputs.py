"""Which files a data folder gives, or the one file that is named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patent_embed.data.files import QUERY_CACHE_NAME
from patent_embed.data.inputs import find_input, input_digest
from patent_embed.errors import UserError
from patent_embed.folders import folder_at


def test_a_folder(tmp_path: Path) -> None:
    for name in ("b.json", "a/z.JSONL", "a/y.csv.gz", "notes.md", QUERY_CACHE_NAME):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    found = find_input(str(tmp_path))
    assert [entry.name for entry in found.files] == ["a/y.csv.gz", "a/z.JSONL", "b.json"]
    assert (found.passed_over, found.size) == (1, 6)
    assert found.notes() == ["1 files of other kinds passed over"]


def test_a_file_is_found_as_its_folder_lists_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    (tmp_path / "b.jsonl").write_text("{}")
    found = find_input(str(path))
    assert (found.root, found.passed_over) == (folder_at(tmp_path), 0)
    assert found.files == [entry for entry in folder_at(tmp_path).entries() if entry.name == "a.jsonl"]
    before = found.digest
    moved = path.rename(tmp_path / "c.jsonl")  # its name does not count, what is in it does
    assert find_input(str(moved)).digest == before
    os.utime(moved, ns=(1, 1))
    assert find_input(str(moved)).digest != before


def test_texts_are_looked_into(tmp_path: Path) -> None:
    (tmp_path / "licence.txt").write_text("Permission is hereby granted to nobody.")
    with pytest.raises(UserError, match=r"holds no \.json, .* file \(1 others\)"):
        find_input(str(tmp_path))
    (tmp_path / "patents.txt").write_text('{"publication_number": "CN110000001A", "title": "x", "abstract": "y"}\n')
    found = find_input(str(tmp_path))
    assert ([entry.name for entry in found.files], found.passed_over) == (["patents.txt"], 1)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist: there is nothing to read"):
        find_input(str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"holds no \.json, .* file \(0 others\)"):
        find_input(str(tmp_path))


def test_what_cannot_be_looked_at_is_told_and_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    before = find_input(str(tmp_path)).digest
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".hidden").symlink_to(tmp_path / "nowhere")
    found = find_input(str(tmp_path))
    assert found.notes() == ["1 not looked at, dangling_link: gone.json", "1 not looked at, not_a_file: pipe.json"]
    assert found.digest != before
    (tmp_path / "a.json").unlink()
    with pytest.raises(UserError, match=r"\(0 others, 3 that cannot be looked at\)"):
        find_input(str(tmp_path))


def test_the_digest_is_of_names_sizes_and_times(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    entries = folder_at(tmp_path).entries()
    assert find_input(str(tmp_path)).digest == input_digest(entries)
