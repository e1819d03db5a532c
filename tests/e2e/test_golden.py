"""Bytes that change without a new version would mix two programs' results in one output folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from patent_embed.config.load import load_config
from patent_embed.data.sample import write_sample
from pipelines.engine import needed_for
from pipelines.job import execute, recipe_of
from pipelines.output_folder import working_in
from pipelines.steps import negatives_scored
from tests import golden

pytestmark = pytest.mark.ray


@pytest.mark.usefixtures("ray_here")
def test_steps_make_what_their_versions_stand_for(tmp_path: Path, tiny_model: Path) -> None:
    """Corpus, splits, rule queries, negatives and tokens of 120 generated patents: no floating-point arithmetic of a
    model touches them, so every machine makes the same."""
    write_sample(tmp_path / "patents", 120)
    config = load_config(
        options={
            "data.data_dir": str(tmp_path / "patents"),
            "run.output_dir": str(tmp_path / "out"),
            "model.name": str(tiny_model),
            "queries.backend": "rules",
            "negatives.scoring.enabled": False,
        }
    )
    with working_in(config, "test", ()) as output:
        recipe = recipe_of(config, output)
        assert recipe.tokens is not None
        made = execute(config, output, needed_for(recipe.tokens, recipe.steps)).made
        config.negatives.scoring.enabled = True
        scored = [step for step in recipe_of(config, output).steps if step.name == negatives_scored.NAME]
        now = json.loads(json.dumps(golden.pinned([*recipe.steps, *scored], made)))
    if os.environ.get(golden.WRITE):
        golden.FILE.write_text(json.dumps(now, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    wrong = golden.complaints(json.loads(golden.FILE.read_text(encoding="utf-8")), now)
    assert not wrong, "; ".join(wrong) + (
        f". Raise the version in the step's file where its result is meant to change, then run this test with "
        f"{golden.WRITE}=1"
    )


@pytest.mark.parametrize(
    ("now", "says"),
    [
        ({"version": 1, "constants": {"CAP": 5}, "digest": "b"}, "digest changed, its version did not"),
        ({"version": 1, "constants": {"CAP": 6}, "digest": "a"}, "constants changed, its version did not"),
        ({"version": 2, "constants": {"CAP": 6}, "digest": "b"}, "version 2, the golden file has 1"),
        (None, "there is no such step"),
    ],
)
def test_a_change_is_noticed(now: dict[str, object] | None, says: str) -> None:
    before = {"mine": {"version": 1, "constants": {"CAP": 5}, "digest": "a"}}
    assert golden.complaints(before, before) == []
    assert golden.complaints(before, {"mine": now} if now else {})[0].startswith(f"mine: {says}")
