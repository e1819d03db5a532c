"""Axes: round ticks, and as many of them as have room."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.report.axes import COLUMN, Axis, number_text, text_width


@pytest.mark.parametrize(
    ("values", "ticks", "first"),
    [
        ([0.0, 1.0], [0, 0.5, 1], "0.0"),
        ([0.12, 0.19], [0.12, 0.14, 0.16, 0.18], "0.12"),
        ([1, 114], [50, 100], "50"),
        ([0, 250_000], [0, 100_000, 200_000], "0"),
        ([0.61, 0.61], [0.5, 1.0], "0.5"),
        ([-3e-5, 4e-5], [-2e-5, 0, 2e-5, 4e-5], "-0.00002"),
    ],
)
def test_ticks_are_round_and_inside(values: list[float], ticks: list[float], first: str) -> None:
    axis = Axis.over(values, "")
    assert list(axis.ticks) == pytest.approx(ticks)
    assert axis.shown(axis.ticks[0]) == first


def test_whole_axes_and_margins() -> None:
    assert list(Axis.over([0, 2], "", whole=True).ticks) == [0, 1, 2]
    assert list(Axis.over([3, 3], "", whole=True).ticks) == [3]
    axis = Axis.over([0, 10], "", margin=0.1)
    assert (axis.low, axis.high) == pytest.approx((-1, 11))
    assert axis.place([-1, 5, 11], 100, 200) == pytest.approx([100, 150, 200])
    top = Axis.over([1.0, 1.0], "", margin=0.06, most=1.0)
    assert (top.low, top.high) == pytest.approx((0.47, 1.03))
    assert max(top.ticks) == pytest.approx(1.0)  # of a share, nothing above all of it
    assert max(Axis.over([0.2, 0.9], "", margin=0.3, most=1.0).ticks) <= 1.0
    share = Axis.over([0.15, 0.15], "", margin=0.06, least=0.0, most=1.0)
    assert min(share.ticks) == 0.0  # none below it either
    assert share.low < 0 < 0.15 < share.high
    assert Axis.over([], "").ticks  # nothing to show still has a frame


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (1e-5, 1e-3, ["1e-5", "2e-5", "5e-5", "1e-4", "2e-4", "5e-4", "1e-3"]),
        (0.01, 0.1, ["0.01", "0.02", "0.05", "0.1"]),
        (4, 64, ["5", "10", "20", "50"]),
        (3.1e-5, 3.9e-5, ["3.2e-5", "3.4e-5", "3.6e-5", "3.8e-5"]),  # no 1, 2 or 5 there
        (1e-8, 1.0, [*(f"1e-{e}" for e in range(8, 2, -1)), "0.01", "0.1", "1"]),  # 2 and 5 have no room
    ],
)
def test_ticks_of_a_logarithmic_axis(low: float, high: float, texts: list[str]) -> None:
    axis = Axis.logarithmic(low, high, "")
    assert list(map(axis.shown, axis.spaced(304.0))) == pytest.approx(texts)
    assert axis.place([low, (low * high) ** 0.5, high], 0, 100) == pytest.approx([0, 50, 100])


def test_categories_have_a_place_each() -> None:
    axis = Axis.of(["triplet", "infonce", 1e-4, True], "loss", length=304.0)
    assert list(map(axis.shown, axis.ticks)) == ["triplet", "infonce", "1e-4", "True"]
    assert axis.place([0, 3], 0, 80) == pytest.approx([10, 70])
    names = [f"一种很长的名字{number}" for number in range(6)]
    long = Axis.of(names, "loss", length=304.0)
    assert (long.label, list(map(long.shown, long.ticks))) == ("loss, by number in the list", list("123456"))
    assert Axis.of(["only"], "", length=304.0).spaced(304.0) == [0]


def apart(axis: Axis, length: float) -> bool:
    """Whether no two labels of the axis touch."""
    ticks = axis.spaced(length)
    middles = axis.place(ticks, 0.0, length)
    ends = [
        (at - text_width(axis.shown(t)) / 2, at + text_width(axis.shown(t)) / 2)
        for t, at in zip(ticks, middles, strict=True)
    ]
    return all(before[1] + COLUMN <= after[0] for before, after in itertools.pairwise(ends))


numbers = st.floats(-1e12, 1e12, allow_nan=False)
above_zero = st.floats(1e-12, 1e12)


@given(numbers, st.floats(1e-9, 1e6), st.sampled_from([60.0, 304.0, 900.0]), st.booleans())
def test_labels_never_touch(low: float, width: float, length: float, whole: bool) -> None:
    axis = Axis.over([low, low + width * max(1.0, abs(low))], "", whole=whole)
    assert apart(axis, length)


@given(above_zero, st.floats(1.001, 1e12), st.sampled_from([60.0, 304.0, 900.0]))
def test_labels_of_a_logarithmic_axis_never_touch(low: float, ratio: float, length: float) -> None:
    axis = Axis.logarithmic(low, low * ratio, "")
    assert apart(axis, length)
    assert axis.spaced(length) or not axis.ticks


@given(st.lists(st.text(max_size=40) | numbers | st.booleans(), min_size=1, max_size=40))
def test_labels_of_categories_never_touch(choices: list) -> None:
    assert apart(Axis.of(choices, "", length=304.0), 304.0)


@pytest.mark.parametrize("last", [1, 2, 4, 7, 250])
def test_trials_are_counted_in_whole_numbers(last: int) -> None:
    axis = Axis.over([1, last], "trial", whole=True)
    assert axis.spaced(304.0)
    assert all(tick == round(tick) and "." not in axis.shown(tick) for tick in axis.ticks)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (3e-5, "3e-5"),
        (0.000327, "3.27e-4"),
        (0.25, "0.25"),
        (64, "64"),
        (12345, "12,345"),
        (-1.5e6, "-1.5e6"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number_text(value) == text
