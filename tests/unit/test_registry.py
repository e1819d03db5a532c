"""A registry takes what the modules of a package hold, each name once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from patent_embed.errors import UserError
from patent_embed.registry import Registry

BASE = """
class Kind:
    def __init__(self, name, order=100):
        self.name, self.order = name, order
"""


def registry(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> Registry:
    package = f"registered_{folder.name}"
    (folder / package).mkdir()
    for name, text in {"__init__": "", "base": BASE, **modules}.items():
        (folder / package / f"{name}.py").write_text(text.replace("PACKAGE", package), encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    __import__(f"{package}.base")
    return Registry(package, sys.modules[f"{package}.base"].Kind, "section.kind")


def test_what_is_there_is_known_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = registry(
        tmp_path,
        monkeypatch,
        one="from PACKAGE.base import Kind\nB, A = Kind('b'), Kind('a')\nAGAIN = A",
        two="from PACKAGE.base import Kind\nfrom PACKAGE.one import A\nLAST = Kind('first', order=1)",
    )
    assert found.names() == [each.name for each in found] == ["first", "a", "b"]
    assert found["a"].order == 100
    with pytest.raises(UserError, match=r"section\.kind is 'c', which is none of first, a, b; name one of them"):
        found["c"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("KIND = 'none'", "two holds no Kind: every module beside base must"),
        ("from PACKAGE.base import Kind\nC = Kind('a')", "two has a second Kind named 'a'"),
    ],
)
def test_a_module_with_nothing_new_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    found = registry(tmp_path, monkeypatch, one="from PACKAGE.base import Kind\nA = Kind('a')", two=text)
    with pytest.raises(TypeError, match=says):
        found.names()
