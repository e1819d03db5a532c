"""Which patents are classified alike."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed.relevance.base import Pair, Patents
from patent_embed.relevance.classes import CLASSES, COMMON, LEAST, NEAREST, likeness

PUMP, VALVE, BOTH, SHIP = ["F04D1/00", "F16K1/00"], ["F16K1/00"], ["F04D1/00", "F16K1/00"], ["B63B1/00"]


def test_a_rare_code_in_common_weighs_more() -> None:
    found = list(likeness([PUMP, VALVE, BOTH, SHIP]))
    rare, frequent = math.log(4 / 2), math.log(4 / 3)
    assert found[0] == ([2, 1], [1.0, round(frequent / (rare + frequent), 3)])
    assert found[3] == ([], [])


def by_hand(codes: list[list[str]]) -> list[list[tuple[int, float]]]:
    """The same, pair by pair."""
    having = Counter(code for each in codes for code in each)
    weight = {code: math.log(len(codes) / count) for code, count in having.items()}
    found = []
    for row, mine in enumerate(codes):
        alike = []
        for other, theirs in enumerate(codes):
            both = sum(weight[code] for code in set(mine) & set(theirs))
            either = sum(weight[code] for code in set(mine) | set(theirs))
            if other != row and both and both / either >= LEAST:
                alike.append((other, both / either))
        found.append(sorted(alike, key=lambda pair: (-round(pair[1], 9), pair[0]))[:NEAREST])
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from("ABCDEF"), unique=True, max_size=4), min_size=1, max_size=12))
def test_it_is_the_weighted_jaccard_of_the_codes(codes: list[list[str]]) -> None:
    for (others, values), expected in zip(likeness(codes), by_hand(codes), strict=True):
        assert values == pytest.approx([value for _, value in expected], abs=6e-4)
        if len(set(values)) == len(values) < NEAREST:  # no ties, which rounding could order otherwise
            assert others == [other for other, _ in expected]


def test_a_code_of_very_many_links_nobody() -> None:
    codes = [["G06F1/00"] for _ in range(COMMON + 1)] + [SHIP] * 2
    *common, first, second = likeness(codes)
    assert common == [([], [])] * (COMMON + 1)
    assert (first, second) == (([COMMON + 2], [1.0]), ([COMMON + 1], [1.0]))


def test_pairs_have_their_likeness_as_grade() -> None:
    pairs = list(CLASSES.pairs(Patents(["CN1", "CN2", "CN3"], {"codes": [PUMP, SHIP, BOTH]})))
    assert pairs == [Pair(0, 2, grade=1.0), Pair(2, 0, grade=1.0)]
    assert not CLASSES.measures
