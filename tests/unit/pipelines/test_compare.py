"""Which models a comparison takes, what it calls them, and what it needs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patent_embed.config.load import load_config
from patent_embed.errors import UserError
from pipelines.compare import comparison_recipe, plain_names
from pipelines.recipe import data_tables


def test_models_are_called_by_the_last_part_of_their_names() -> None:
    assert plain_names(["BAAI/bge-base-zh-v1.5", "experiments/model"]) == ["bge-base-zh-v1.5", "model"]
    assert plain_names(["one/model", "/two/model", "bundled"]) == ["one-model", "two-model", "bundled"]
    assert plain_names(["a/bm25", "bundled"]) == ["a-bm25", "bundled"]  # bm25 is a row of its own


@pytest.mark.parametrize("models", [("a/model",), ("a/model", "a/model"), ("a/b", "c", "a/b")])
def test_a_comparison_needs_different_models(models: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="two or more different models"):
        plain_names(models)


def test_a_comparison_needs_a_test_set(tmp_path: Path) -> None:
    config = load_config(options={"run.output_dir": str(tmp_path)})
    with pytest.raises(UserError, match="holds no finished run"):
        comparison_recipe(config, ["a", "b"], of_run=True)


def test_a_comparison_on_a_data_folder_begins_like_a_run(tmp_path: Path, sample_folder: Path, tiny_model: Path) -> None:
    models = [shutil.copytree(tiny_model, tmp_path / name) for name in ("one", "two")]
    config = load_config(options={"run.output_dir": str(tmp_path), "data.data_dir": str(sample_folder)})
    found = comparison_recipe(config, [str(model) for model in models], of_run=False)
    data, _ = data_tables(config)
    assert [step.folder for step in found.steps[:4]] == [step.folder for step in data]  # so that it reuses a run's
    measured = ["evaluate-bm25", "embed-one", "evaluate-one", "embed-two", "evaluate-two"]
    assert [step.name for step in found.steps[4:]] == measured
    assert list(found.systems) == ["bm25", "one", "two"]
    assert found.given.by_name == {}
