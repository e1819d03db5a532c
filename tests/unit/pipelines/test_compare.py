from pathlib import Path

import pytest

from patent_embed.config.load import load_config
from patent_embed.errors import UserError
from pipelines.compare import Comparison


def names(*models: object) -> list[str]:
    return Comparison(load_config(), models=[str(model) for model in models])._names()


def test_models_are_called_by_the_last_part_of_their_names() -> None:
    assert names("BAAI/bge-base-zh-v1.5", "experiments/model") == ["bge-base-zh-v1.5", "model"]
    assert names("one/model", "/two/model", "bundled") == ["one-model", "two-model", "bundled"]
    assert names("a/bm25", "bundled") == ["a-bm25", "bundled"]  # bm25 is a row of its own


@pytest.mark.parametrize("models", [("a/model",), ("a/model", "a/model"), ("a/b", "c", "a/b")])
def test_a_comparison_needs_different_models(models: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="two or more different models"):
        names(*models)


def test_a_comparison_needs_a_test_set(tmp_path: Path) -> None:
    config = load_config(options={"run.output_dir": str(tmp_path)})
    with pytest.raises(UserError, match="holds no finished run"):
        Comparison(config, models=["a", "b"], of_run=True).stages()
