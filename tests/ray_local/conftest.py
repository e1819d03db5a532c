"""The Ray cluster of these tests, which ends with them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
