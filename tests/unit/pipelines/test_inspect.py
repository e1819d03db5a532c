"""``patent-embed inspect``: a page for people, or one JSON object a record, without Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from patent_embed.text import columns
from pipelines.cli import main
from tests.conftest import ROOT, patent, write_json_lines


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    long = "一种" + "很长的摘要，" * 40
    records = [
        patent("CN1A", abstract=long, claims=["1. 一种。"], 摘要内容文本="x"),
        patent("CN2A"),
        patent("CN3A", abstract="短"),
    ]
    write_json_lines(tmp_path / "a.jsonl", records)
    (tmp_path / "notes.md").touch()
    return tmp_path


def test_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:7] == [
        f"1 files in {folder}",
        "1 files of other kinds passed over",
        "3 records: 2 patents, 1 rejected",
        "",
        "format    json 3",
        "encoding  utf-8 3",
        "language  zh 2",
    ]
    assert "         1  abstract_too_short" in lines
    abstract = "".join(line[22:] for line in lines[lines.index("as it is read, 1: a.jsonl:1") + 3 :][:14])
    assert "很长的摘要，" * 40 in abstract  # whole
    assert "  claims              1, 6 characters" in lines
    assert "         1  摘要内容文本" in lines
    assert max(columns(line) for line in lines[1:]) <= 80


def test_names_that_are_set_are_used(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), "--set", "data.fields.abstract=摘要内容文本"]) == 0
    assert "3 records: 0 patents, 3 rejected" in capsys.readouterr().out


def test_a_near_miss_says_what_to_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = patent("CN1A")
    record["摘要内容文本"] = record.pop("abstract")
    write_json_lines(tmp_path / "a.jsonl", [record])
    assert main(["inspect", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "摘要内容文本 looks like an abstract: set data.fields.abstract=摘要内容文本"


def test_json_lines_and_nothing_else(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder), "--json", "--limit", "9"]) == 0
    shown = capsys.readouterr()
    records = [json.loads(line) for line in shown.out.splitlines()]
    assert [list(record) for record in records] == [
        ["publication_number", "title", "abstract", "codes", "reason", "source"]
    ] * 3
    assert [(r["publication_number"], r["codes"], r["reason"], r["source"]) for r in records] == [
        ("CN1A", ["G06T3/40"], "", "a.jsonl:1"),
        ("CN2A", ["G06T3/40"], "", "a.jsonl:2"),
        ("CN3A", [], "abstract_too_short", "a.jsonl:3"),
    ]
    assert shown.err == ""


def test_nothing_to_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path / "nowhere"), "--json"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("patent-embed: error: data_dir ")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "gb18030"])
def test_json_lines_in_any_encoding_without_ray(folder: Path, encoding: str) -> None:
    code = (
        "import sys\nfrom pipelines.cli import program\nassert program(['inspect', sys.argv[1], '--json']) == 0\n"
        "print(sorted({'ray', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder],
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        cwd=ROOT,
        check=True,
    )
    assert [json.loads(line)["title"] for line in done.stdout.splitlines()] == [
        f"一种测试装置CN{n}A" for n in (1, 2, 3)
    ]
    assert done.stderr.decode().strip() == "[]"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "a.jsonl", [patent(f"CN{n}A") for n in range(5000)])
    code = "import sys\nfrom pipelines.cli import program\nsys.exit(program(['inspect', sys.argv[1], '--json']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), said) == (0, b"")
