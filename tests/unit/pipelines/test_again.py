"""Which finished steps are made again: those in which something stands in for what could not be had."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patent_embed.config.load import load_config
from patent_embed.data.inputs import find_input
from pipelines.engine import Digest, StepSpec
from pipelines.steps.ingest import ingest_step
from pipelines.steps.queries import queries_step


def asked(step: StepSpec, **report: Any) -> str:
    """Why the step would be made again, of an artifact with this report."""
    made: Any = SimpleNamespace(report=report)
    return step.again(made)


@pytest.mark.parametrize("cached", [True, False])
def test_queries_that_had_not_come(cached: bool) -> None:
    config = load_config(options={"queries.backend": "api", "queries.use_cache": cached})
    step = queries_step(config, Digest("i"), Digest("s"), None)
    why = asked(step, errors={"token_cap": 2, "timeout": 1, "empty_answer": 4})
    assert why == ("3 answers had not come (token_cap 2, timeout 1), and are asked for" if cached else "")
    assert asked(step, errors={"empty_answer": 4}) == asked(step, errors={}) == asked(step) == ""


def test_files_that_could_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    step = ingest_step(load_config(), find_input(str(tmp_path)))
    assert asked(step) == asked(step, unread={}) == ""
    assert asked(step, unread={"a.json": ""}) == "1 files that could not be read have changed (a.json)"
