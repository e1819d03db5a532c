"""Imports go from pipelines to patent_embed, never back; Ray and vLLM only in the shells; leaves stay light."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

LIBRARY = sorted((ROOT / "patent_embed").rglob("*.py"))
# What only reads, mines, measures or reports must start in a second, on a machine without torch.
NO_TORCH = (
    *(
        "artifacts",
        "arrays",
        "config.load",
        "data.records",
        "data.sample",
        "data.splits",
        "encoder.hub",
        "folders",
        "ipc",
    ),
    *("benchmark.making", "benchmark.reading", "benchmark.trec", "evaluation.rankings"),
    *("evaluation.forgetting", "evaluation.measure", "evaluation.patent_map", "evaluation.rank_changes"),
    *("evaluation.slices", "evaluation.systems", "negatives.drawn", "queries.rules", "report.charts", "serving.app"),
    *("ipc", "progress.loss_curve", "progress.trackers", "report.html", "report.markdown", "text"),
)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_library_knows_no_ray_and_no_pipelines(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imported(path)}
    assert not roots & {"ray", "vllm", "openai", "pipelines"}


def test_every_package_is_looked_at() -> None:
    assert {path.parent.name for path in LIBRARY} >= {
        "patent_embed",
        "data",
        "negatives",
        "encoder",
        "kernels",
        "report",
    }


def test_light_modules_load_neither_torch_nor_ray() -> None:
    code = f"import sys\nfor name in {NO_TORCH!r}: __import__('patent_embed.' + name)\n"
    code += "print(sorted({'torch', 'ray', 'transformers', 'sentence_transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


def test_nothing_is_pickled() -> None:
    for path in [*LIBRARY, *(ROOT / "pipelines").rglob("*.py")]:
        assert not imported(path) & {"pickle", "joblib", "dill", "cloudpickle"}, path
        assert "torch.load(" not in path.read_text(encoding="utf-8"), path


def test_files_that_are_no_modules_are_packed_too() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    packed = {pattern.lstrip("*") for pattern in settings["package-data"]["*"]}
    assert {
        path.suffix for path in (ROOT / "patent_embed").rglob("*.*") if path.suffix not in (".py", ".pyc")
    } <= packed
