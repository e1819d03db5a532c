"""Fixtures of the tests that start vLLM engines."""

from pathlib import Path

import pytest

from tests.ray_local.conftest import ray_cluster

__all__ = ["ray_cluster"]


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.llm.tiny import write_tiny_model

    return write_tiny_model(tmp_path_factory.mktemp("tiny"))
