"""Few texts are embedded by the driver, many by actors: the vectors are the same, and so is what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from safetensors.torch import load_file, save_file

from patent_embed.config.model import ModelConfig
from pipelines.resources import cluster_nodes
from pipelines.steps import embed

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
TEXTS = pa.table(
    {
        "text": [f"一种装置，编号{i}，{'包括壳体' * (i % 7)}" for i in range(300)],
        "kind": ["query" if i % 3 else "passage" for i in range(300)],
    }
)


def test_the_driver_gives_what_actors_give(tiny_model: Path) -> None:
    progress = list[int]()
    here = embed.embed_texts(TEXTS, (str(tiny_model), ""), ModelConfig(), lambda done, *_: progress.append(done))
    assert progress[-1] == 300
    actors = embed.embed_texts(TEXTS, (str(tiny_model), ""), ModelConfig(), nodes=cluster_nodes())
    assert here.shape == actors.shape == (300, 32)
    np.testing.assert_allclose(here, actors, atol=1e-5)


def test_embeddings_that_are_no_numbers_are_an_error(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_model.rglob("*"):
        target = broken / path.relative_to(tiny_model)
        target.mkdir(exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    (weights,) = broken.rglob("model.safetensors")
    save_file({name: value * float("nan") for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    with pytest.raises(RuntimeError, match="some hold NaN"):
        embed.embed_texts(TEXTS.slice(0, 5), (str(broken), ""), ModelConfig())
