"""Paired tests over queries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patent_embed.evaluation import significance


def test_holm_against_values_worked_out_by_hand() -> None:
    adjusted = significance.holm(np.array([0.04, 0.01, 0.03, 0.005]))
    assert adjusted == pytest.approx([0.06, 0.03, 0.06, 0.02])  # 4 · 0.005, 3 · 0.01, 2 · 0.03, then no less than that
    assert significance.holm(np.array([0.6, 0.9])).tolist() == [1, 1]
    assert significance.holm(np.empty(0)).shape == (0,)


def test_bootstrap_covers_the_mean_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        difference = rng.normal(0.3, 1, 60)
        low, high = significance.paired_bootstrap(difference, np.arange(60), trial, resamples=400)
        covered += low <= 0.3 <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_randomisation_p_value_is_exact_where_all_signs_can_be_counted() -> None:
    # All four differences positive: 2 of the 16 sign patterns are as large, so p = 1/8.
    p_value = significance.paired_randomisation(np.array([0.1, 0.2, 0.3, 0.4]), np.arange(4), seed=0, resamples=40_000)
    assert p_value == pytest.approx(1 / 8, abs=0.01)
    assert significance.paired_randomisation(np.zeros(5), np.arange(5), seed=0) == 1.0


def test_queries_of_one_patent_are_no_independent_evidence() -> None:
    difference = np.repeat(np.random.default_rng(1).normal(0.2, 1, 30), 10)
    patents, queries = np.repeat(np.arange(30), 10), np.arange(300)
    low, high = significance.paired_bootstrap(difference, patents, 0)
    naive_low, naive_high = significance.paired_bootstrap(difference, queries, 0)
    assert high - low > 2 * (naive_high - naive_low)
    assert significance.paired_randomisation(difference, patents, 0) > significance.paired_randomisation(
        difference, queries, 0
    )


def test_statistics_are_seeded_and_defined_without_queries() -> None:
    difference = np.random.default_rng(2).normal(0.1, 1, 50)
    assert significance.paired_bootstrap(difference, np.arange(50), 7) == significance.paired_bootstrap(
        difference, np.arange(50), 7
    )
    assert math.isnan(significance.paired_bootstrap(np.empty(0), np.empty(0, np.int64), 0)[0])
    assert math.isnan(significance.paired_randomisation(np.empty(0), np.empty(0, np.int64), 0))
