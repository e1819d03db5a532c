"""Nested shares of what a training reads, and what is said of their curve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from patent_embed.encoder.packing import Tokens
from patent_embed.training.coverage import SHARES, Curve, curves_in, part_of
from patent_embed.training.data import TripletData
from patent_embed.training.mixture import Mixture


def data(families: int = 40, queries: int = 4) -> TripletData:
    """So many queries of each family, with two triplets each; passages come behind all queries."""
    asking = np.repeat(np.arange(families * queries), 2)
    family = np.concatenate([np.repeat(np.arange(families) + 7, queries), np.arange(families) + 7])
    passage = families * queries + family[asking] - 7
    negative = families * queries + (passage - families * queries + 1 + np.tile([0, 1], len(asking) // 2)) % families
    tokens = Tokens.from_lists([[1]] * len(family))
    return TripletData(tokens, np.column_stack([asking, passage, negative]), family)


def asked(part: TripletData) -> set[int]:
    return set(part.triplets[:, 0].tolist())


@pytest.mark.parametrize("unit", ["patents", "queries"])
def test_shares_are_nested_and_whole_queries(unit: Any) -> None:
    whole = data()
    parts = [part_of(whole, unit, share, 1) for share in SHARES]
    assert [len(asked(part)) for part in parts] == [40, 80, 160]
    assert asked(parts[0]) < asked(parts[1]) < asked(parts[2])
    assert np.array_equal(parts[2].triplets, whole.triplets)
    for part in parts:
        assert len(part.triplets) == 2 * len(asked(part))
        families, counts = np.unique(whole.family[sorted(asked(part))], return_counts=True)
        if unit == "patents":
            assert set(counts) == {4}
        else:
            assert len(families) == 40
            assert len(set(counts)) == 1
    assert asked(part_of(whole, unit, 0.25, 2)) != asked(parts[0])


def test_a_family_keeps_one_query_at_least() -> None:
    assert len(asked(part_of(data(10, 1), "queries", 0.25, 1))) == 10
    assert len(asked(part_of(data(3, 1), "patents", 0.25, 1))) == 1


def test_what_is_known_of_triplets_goes_with_them() -> None:
    whole = data()
    grade = np.arange(len(whole.triplets), dtype=np.float32) + 1
    mixture = Mixture(np.zeros(len(grade), np.int64), grade, np.ones(1), np.zeros((2, 0), np.int64))
    part = part_of(TripletData(whole.tokens, whole.triplets, whole.family, mixture), "patents", 0.5, 1)
    assert part.mixture is not None
    kept = np.isin(whole.triplets[:, 0], part.triplets[:, 0])
    assert part.mixture.grade.tolist() == grade[kept].tolist()
    assert part.epoch_size() == len(part.triplets) == 160


def curve(gain: float, queries: int = 200) -> Curve:
    rng = np.random.default_rng(0)
    half = rng.uniform(0.2, 0.8, queries)
    values = {0.0: half - 0.2, 0.25: half - 0.1, 0.5: half, 1.0: half + gain + rng.normal(0, 0.1, queries)}
    return Curve.of("patents", values, np.arange(queries), seed=1)


def test_it_says_when_to_stop_paying() -> None:
    helps = curve(0.05)
    assert list(helps.means) == [0.0, 0.25, 0.5, 1.0]
    assert helps.lines()[1].endswith("more patents may still help")
    for gain in (0.0, -0.05):
        assert curve(gain).lines()[1].endswith("do not pay for more patents")
    few = curve(0.03, queries=12).lines()
    assert few[0].startswith("patents: nDCG@10 on 12 val queries: 0% ")
    assert "cannot tell from nothing; about " in few[1]
    assert curves_in([helps.as_json()])[0].lines() == helps.lines()
