"""Charts as SVG."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from patent_embed.report import charts
from patent_embed.report.axes import COLUMN, Axis
from patent_embed.report.charts import Dot, Line


def test_texts_of_the_data_are_escaped() -> None:
    bad = '<script>"&'
    for drawn in (
        charts.bars({bad: 3}, name=bad),
        charts.lines({bad: (np.arange(2.0), np.arange(2.0))}, Axis.over([0, 1], bad), Axis.over([0, 1], ""), name=bad),
        charts.interval(0.1, 0.2, 0.3, 1, bad, name=bad),
    ):
        ElementTree.fromstring(str(drawn))
        assert "<script" not in drawn


def test_bars_are_as_long_as_their_values_and_long_labels_are_cut() -> None:
    name = "专利" * 40
    drawn = ElementTree.fromstring(str(charts.bars({"a": 50, "b": 100, "none": 0, name: 25}, name="x")))
    widths = [float(bar.get("width", "")) for bar in drawn.iter("rect") if bar.get("class") == "c0"]
    assert widths == pytest.approx([180, 360, 0, 90])
    label = next(text for text in drawn.iter("text") if text.find("title") is not None)
    assert "".join(label.itertext()).startswith(name + "专利")  # the whole of it as the title, then what fits
    assert len("".join(label.itertext())) < len(name) + 40


def test_a_histogram_and_a_map_hold_all_their_data() -> None:
    x, y = Axis.over([0, 3], ""), Axis.over([0, 1], "")
    drawn = str(charts.areas({"a": np.array([0.0, 1.0, 0.5])}, np.arange(4.0), x, y, name=""))
    assert len(re.findall(r"[ML][\d.]+ [\d.]+", re.search(r'class="area c0" d="([^"]+)"', drawn)[1])) == 8
    points = np.random.default_rng(0).normal(size=(30, 2))
    drawn = str(charts.scatter(points, ["A", "B", "A"] * 10, ["A", "B", "C"], x, y, name=""))
    assert [len(re.findall("M", path)) for path in re.findall(r'class="dots c\d" d="([^"]+)"', drawn)] == [20, 10]


def test_a_plot_draws_every_trial_and_says_which_it_is() -> None:
    x, y = Axis.over([0, 4], "epoch", whole=True), Axis.over([0, 1], "")
    drawn = ElementTree.fromstring(
        str(
            charts.plot(
                [Line([0, 4], [0.1, 0.9], "best", "trial <1>")],
                [Dot(2, 0.5, "halted", "trial 2"), Dot(4, None, "failed", "trial 3 failed")],
                x,
                y,
                name="n",
            )
        )
    )
    assert [title.text for title in drawn.iter("title")] == ["trial <1>", "trial 2", "trial 3 failed"]
    (circle,) = drawn.iter("circle")
    assert (circle.get("class"), circle.get("cx")) == ("dot halted", "198.0")  # in the middle of 46 to 350
    (cross,) = (path for path in drawn.iter("path") if (path.get("class") or "").startswith("cross"))
    assert cross.get("d", "").startswith("M346.5 182")  # at the bottom


def test_profiles_place_every_value_on_its_own_scale() -> None:
    scales = [Axis.logarithmic(1e-5, 1e-3, "rate"), Axis.of(["a", "b", "c"], "loss", length=320.0)]
    drawn = str(charts.profiles(scales, [((1e-4, 2), "best", "trial 1"), ((1e-5, 0), "done", "trial 2")], name="n"))
    assert re.findall(r'class="line (\w+)" d="([^"]+)"', drawn) == [
        ("best", "M180.0 22.0L286.7 78.0"),
        ("done", "M20.0 22.0L73.3 78.0"),
    ]
    assert all(text in re.findall(r">([^<]+)</text>", drawn) for text in ("rate", "1e-4", "loss", "a", "b", "c"))


def test_long_labels_widen_the_margin_they_stand_in() -> None:
    x, y = Axis.over([0, 1], ""), Axis.over([0, 30_000_000], "")
    ends = [
        float(text.get("x", ""))
        for text in ElementTree.fromstring(str(charts.lines({}, x, y, name=""))).iter("text")
        if text.get("class") == "end"
    ]
    assert len(ends) == 4
    assert min(ends) >= len("30,000,000") * COLUMN - 1
