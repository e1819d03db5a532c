"""Which files hold patents."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from patent_embed.data.files import list_files, select_files
from tests.conftest import patent


def test_listing_passes_over_what_is_no_patent_file(tmp_path: Path) -> None:
    for name in ("a.json", "deep/b.json", "processed/c.json", ".hidden/d.json", "llm_queries_cache.json", "e.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    files, ignored = list_files(tmp_path)
    assert ([str(f.relative_to(tmp_path)) for f in files], ignored) == (["a.json", "deep/b.json"], 3)


@pytest.mark.parametrize(
    "name",
    [
        "a.JSON",
        "b.Jsonl",
        "c.ndjson",
        "d.jsonl.GZ",
        "e.CSV",
        "f.tsv.gz",
        "g.XLSX",
        "h.xls",
        "i.parquet",
        "j.xml",
        "k.ZIP",
    ],
)
def test_a_suffix_counts_in_any_case(name: str) -> None:
    assert select_files([name, f"deep/{name}", f"processed/{name}", f".{name}"]) == {name, f"deep/{name}"}


def test_a_text_file_counts_where_a_format_knows_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "README.txt").write_text("These files are patents.\nTitle and abstract are in Chinese.")
    (tmp_path / "notes.TXT").write_bytes(b"\xff\xff\xff")
    (tmp_path / "table.txt").write_text("公开号\t标题\t摘要\nCN1A\t装置\t一种装置\n", encoding="utf-16")
    (tmp_path / "one.txt").write_text("Title: A device\nAbstract: A device with a motor.\n")
    (tmp_path / "lines.txt.gz").write_bytes(gzip.compress(json.dumps(patent("CN1A")).encode()))
    files, ignored = list_files(tmp_path)
    assert ([file.name for file in files], ignored) == (["lines.txt.gz", "one.txt", "table.txt"], 2)
