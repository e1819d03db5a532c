"""Imports go from pipelines to patent_embed, never back; Ray and vLLM only in the shells; leaves stay light."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIBRARY = sorted((ROOT / "patent_embed").glob("*.py"))
NO_TORCH = (
    *("artifacts", "bm25", "charts", "columns", "config", "evaluation", "forgetting", "html_report", "hub", "ipc"),
    *("metrics", "negatives", "progress", "projection", "queries", "rank_changes", "records", "relevance", "report"),
    *("sample", "search", "slices", "splits"),
)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: path.stem)
def test_the_library_knows_no_ray_and_no_pipelines(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(path)}
    assert not roots & {"ray", "vllm", "openai", "pipelines"}


@pytest.mark.parametrize("name", ["ipc", "errors", "losses", "metrics", "search"])
def test_leaves_import_nothing_internal(name: str) -> None:
    assert not {found for found in imported(ROOT / "patent_embed" / f"{name}.py") if found.startswith("patent_embed")}


def test_light_modules_load_neither_torch_nor_ray() -> None:
    code = f"import sys\nfor name in {NO_TORCH!r}: __import__('patent_embed.' + name)\n"
    code += "print(sorted({'torch', 'ray', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_pickled() -> None:
    for path in [*LIBRARY, *(ROOT / "pipelines").glob("*.py")]:
        assert not imported(path) & {"pickle", "joblib", "dill", "cloudpickle"}, path
        assert "torch.load(" not in path.read_text(encoding="utf-8"), path


def test_files_that_are_no_modules_are_packed_too() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packed = settings["tool"]["setuptools"]["package-data"]["patent_embed"]
    there = {path.name for path in (ROOT / "patent_embed").iterdir() if path.is_file() and path.suffix != ".py"}
    assert set(packed) == there
