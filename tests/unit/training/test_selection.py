"""What is said of two epochs: worked figures, and how often chance is taken for a difference."""

from __future__ import annotations

import numpy as np
import pytest

from patent_embed.training.selection import doubt, queries_needed


def test_the_queries_it_takes_are_those_of_the_textbook() -> None:
    """Mean 0.5, deviation 0.5: ((1.96 + 0.8416) * 0.5 / 0.5)^2 = 7.85."""
    assert queries_needed(np.array([0.0, 1.0, 0.0, 1.0])) == 8
    assert queries_needed(np.array([0.25, -0.25])) is None
    assert queries_needed(np.array([0.5, 0.5])) is None


def test_so_many_queries_show_it_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    needed = queries_needed(rng.normal(0.02, 0.1, 100_000))
    assert needed == pytest.approx(196, rel=0.05)
    assert needed is not None
    shown = [
        doubt(rng.normal(0.02, 0.1, needed), np.zeros(needed), np.arange(needed), seed=seed).shown
        for seed in range(200)
    ]
    assert 0.7 < np.mean(shown) < 0.9


def test_a_few_queries_show_nothing_and_many_patents_more_than_one() -> None:
    better = np.array([1.0, 1.0, 1.0, 1.0])
    found = doubt(better, np.zeros(4), np.arange(4), seed=1)  # of 16 sign patterns two are as extreme: p = 0.125
    assert found.p_value == pytest.approx(0.125, abs=0.02)
    assert not found.shown
    twelve = np.ones(12)
    assert doubt(twelve, np.zeros(12), np.arange(12), seed=1).shown
    assert not doubt(twelve, np.zeros(12), np.arange(12) // 3, seed=1).shown  # four patents, three queries each
    assert not doubt(-twelve, np.zeros(12), np.arange(12), seed=1).shown
    assert doubt(twelve, twelve, np.arange(12), seed=1).p_value == 1


def test_the_best_of_many_epochs_needs_more() -> None:
    values = np.r_[np.ones(6), np.zeros(6)]
    one = doubt(values, np.zeros(12), np.arange(12), seed=1)  # p = 2 / 2^6
    assert one.p_value == pytest.approx(1 / 32, abs=0.01)
    assert one.shown
    assert not doubt(values, np.zeros(12), np.arange(12), seed=1, comparisons=4).shown
