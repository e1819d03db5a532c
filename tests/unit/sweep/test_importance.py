"""How much each setting of a sweep counts."""

from __future__ import annotations

import dataclasses

from patent_embed.sweep.importance import importance
from patent_embed.sweep.trials import Sweep
from tests.sweeps import sweep, wide_sweep


def test_importance_finds_the_setting_that_counts() -> None:
    found = importance(sweep())
    assert set(found) == {"training.learning_rate", "training.margin"}
    few = sweep()
    assert importance(Sweep(few.space, 2, few.trials[:3])) == {}


def test_trials_that_all_did_the_same_say_nothing() -> None:
    given = sweep()
    same = [dataclasses.replace(trial, curve=(0.5, 0.6)) for trial in given.trials]
    assert importance(Sweep(given.space, 2, same)) == {}


def test_every_kind_of_range_is_known() -> None:
    shares = importance(wide_sweep())
    assert set(shares) == set(wide_sweep().space)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
