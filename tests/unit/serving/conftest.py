from __future__ import annotations

from pathlib import Path

import pytest

from patent_embed.serving.engine import Engine
from tests.serving import engine, records


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Engine:
    """150 patents."""
    return engine(tmp_path_factory.mktemp("served"), records(150), tiny_model)
