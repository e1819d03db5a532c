"""A search that goes on proposes what it would have proposed without the interruption."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("optuna")

from patent_embed.sweep.journal import Journal
from patent_embed.sweep.space import Range
from pipelines.proposals import TRIAL, Proposals

SPACE = {"training.margin": Range("uniform", (0.1, 0.5)), "training.lora.r": Range("choice", (8, 16, 32))}
TRIALS = 16  # TPE draws at random for the first ten


def proposed(folder: Path, first: int, last: int, *, dies_in: int | None = None) -> list[dict[str, object]]:
    """Trials one after the other, each ended but the one in which the search dies; their proposals."""
    journal, found = Journal(folder, SPACE, 1), []
    search = Proposals(journal, "best", seed=3)
    for number in range(first, last + 1):
        values = search.suggest(f"tune-{number}")
        found.append(values)
        if number == dies_in:
            return found
        best = 1 - abs(values["training.margin"] - 0.3)
        journal.end(values[TRIAL], "failed" if number % 5 == 0 else "done", best=best)
        search.on_trial_complete(f"tune-{number}", {"best": best}, error=number % 5 == 0)
    return found


@pytest.fixture
def whole(tmp_path: Path) -> list[dict[str, object]]:
    (tmp_path / "whole").mkdir()
    return proposed(tmp_path / "whole", 1, TRIALS)


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path, whole: list[dict[str, object]]) -> None:
    begun = proposed(tmp_path, 1, TRIALS, dies_in=12)
    resumed = proposed(tmp_path, 12, TRIALS)
    assert resumed[0] == begun[-1]  # the trial that had not ended comes first, with its name
    assert begun[:-1] + resumed == whole


def test_trials_of_another_optuna_are_told_as_they_were(tmp_path: Path, whole: list[dict[str, object]]) -> None:
    """Their values are not what this one would draw, and are kept all the same."""
    shutil.copytree(tmp_path / "whole", tmp_path / "other")
    journal = tmp_path / "other" / "begun.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join([lines[0].replace('"training.margin": 0.', '"training.margin": 0.2'), *lines[1:]]))
    search = Proposals(Journal(tmp_path / "other", SPACE, 1), "best", seed=3)
    fresh = search.suggest("tune-17")
    assert fresh[TRIAL] == "trial-0017"
    assert {key: fresh[key] for key in SPACE} not in [{key: each[key] for key in SPACE} for each in whole]
