"""The files that the documentation names are there. CHANGELOG.md also names those that are gone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [
    *sorted(ROOT.glob("docs/*.md")),
    *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md", "README.zh-CN.md")),
]
# A path of ours anywhere in the text. NAME, DIR and the like stand for any name.
OURS = re.compile(r"(?<![\w./-])(?:patent_embed|pipelines|tests|benchmarks|configs|docs|\.ci)/[\w./*-]*", re.ASCII)
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)")


def missing(page: Path, text: str) -> list[str]:
    """What ``text`` names that is not there."""
    named = {found.rstrip(".-") for found in OURS.findall(text)}
    gone = [name for name in named if not any(ROOT.glob(re.sub(r"\b[A-Z]+\b", "*", name).rstrip("/")))]
    return sorted(gone + [link for link in LINK.findall(text) if not (page.parent / link).exists()])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    assert missing(page, page.read_text(encoding="utf-8")) == []


def test_a_file_that_is_not_there_is_found() -> None:
    text = "`patent_embed/losses/NAME.py` [x](docs/quality.md) [y](no.md) [z](https://a.b/docs/z) tests/unit/no.py"
    assert missing(ROOT / "README.md", text) == ["no.md", "tests/unit/no.py"]
