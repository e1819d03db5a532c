"""Few texts are embedded by the driver, many by actors: the vectors are the same, and so is what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray
from safetensors.torch import load_file, save_file

from patent_embed.artifacts import ModelRef
from patent_embed.config.model import ModelConfig
from patent_embed.progress.events import TextsEmbedded
from pipelines.embedders import _cpu_actors, embed_texts
from pipelines.resources import NodeSize, cluster_nodes
from pipelines.worker_errors import mistake_in

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
TEXTS = pa.table(
    {
        "text": [f"一种装置，编号{i}，{'包括壳体' * (i % 7)}" for i in range(300)],
        "kind": ["query" if i % 3 else "passage" for i in range(300)],
    }
)


def test_the_driver_gives_what_actors_give(tiny_model: Path) -> None:
    model, seen = ModelRef(str(tiny_model)), list[TextsEmbedded]()
    here = embed_texts(TEXTS, model, ModelConfig(), seen.append)
    assert (seen[-1].done, seen[-1].total) == (300, 300)
    actors = embed_texts(TEXTS, model, ModelConfig(), nodes=cluster_nodes())
    assert here.shape == actors.shape == (300, 32)
    np.testing.assert_allclose(here, actors, atol=1e-5)


def test_embeddings_that_are_no_numbers_are_an_error(broken_model: Path) -> None:
    with pytest.raises(RuntimeError, match="some hold NaN"):
        embed_texts(TEXTS.slice(0, 5), ModelRef(str(broken_model)), ModelConfig())


def test_a_model_that_an_actor_cannot_load_is_a_users_mistake(tiny_model: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    (weights,) = broken.rglob("model.safetensors")
    save_file({n: value for n, value in load_file(weights).items() if "layer.1" not in n}, weights, {"format": "pt"})
    with pytest.raises(ray.exceptions.RayError) as raised:
        embed_texts(TEXTS, ModelRef(str(broken)), ModelConfig(), nodes=cluster_nodes())
    mistake = mistake_in(raised.value)
    assert mistake.startswith(f"model '{broken}' is not whole: 16 of its weights are missing")
    assert mistake.endswith("fetch it again, or name another")


@pytest.mark.parametrize(
    ("cpus", "actors", "threads"),
    [
        ([1], 1, 1),
        ([2], 1, 2),
        ([16], 4, 4),
        ([1, 1, 1], 3, 1),
        ([0.5], 1, 1),  # less than a core in all: nothing smaller can be asked for
        ([2, 32], 17, 2),
        ([32] * 8, 64, 4),
    ],
)
def test_embedding_fills_the_nodes_and_fits_each(cpus: list[float], actors: int, threads: int) -> None:
    assert _cpu_actors([NodeSize(count, 0) for count in cpus]) == (actors, threads)
