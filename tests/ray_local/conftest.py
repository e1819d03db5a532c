"""The Ray cluster of these tests, which ends with them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.conftest import ROOT


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[None]:
    """A real local Ray cluster with two CPUs."""
    import ray

    from pipelines.session import WORKER_ENV, quiet_ray_data

    ray.init(
        num_cpus=2,
        object_store_memory=256 << 20,
        log_to_driver=False,
        include_dashboard=False,
        runtime_env={"env_vars": WORKER_ENV | {"PYTHONPATH": str(ROOT)}},
    )
    quiet_ray_data()
    yield
    ray.shutdown()


@pytest.fixture
def broken_model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model whose vectors are NaN."""
    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    (weights,) = broken.rglob("model.safetensors")
    save_file({name: value * float("nan") for name, value in load_file(weights).items()}, weights, {"format": "pt"})
    return broken
