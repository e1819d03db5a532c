"""Trials, and which is the best."""

from __future__ import annotations

from patent_embed.sweep.trials import Sweep, Trial
from tests.sweeps import sweep


def test_the_epoch_before_training_wins_nothing() -> None:
    assert Trial(1, {}, "running", [0.9]).best is None
    trial = Trial(1, {}, "done", [0.9, 0.5, 0.7, 0.7])
    assert (trial.best, trial.best_epoch, trial.epochs) == (0.7, 2, 3)
    assert (Trial(1, {}, "waiting").best_epoch, Trial(1, {}, "waiting").epochs) == (None, 0)


def test_a_failed_trial_is_ranked_but_wins_nothing() -> None:
    assert [trial.number for trial in sweep().ranked] == [6, 5, 4, 3, 2, 1]
    winner = sweep().winner
    assert winner is not None
    assert winner.number == 5
    assert [trial.number for trial in sweep().judged] == [1, 2, 3, 4, 5]


def test_of_equals_the_earliest_wins() -> None:
    trials = [Trial(number, {}, "done", [0.5, 0.6]) for number in (1, 2, 3)]
    winner = Sweep({}, 1, trials).winner
    assert winner is not None
    assert winner.number == 1
    assert Sweep({}, 1, []).winner is None
