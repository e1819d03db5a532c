"""A file is read in one sitting, a function in one look."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

FILES = sorted(path for folder in ("patent_embed", "pipelines") for path in (ROOT / folder).rglob("*.py"))
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 400, 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_file_and_no_function_is_too_long(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    lines = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_FUNCTION}


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "__init__.py"], ids=lambda path: str(path.parent)
)
def test_no_package_hands_on_what_its_modules_define(path: Path) -> None:
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    imported = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if name.startswith(("patent_embed", "pipelines", "."))]
