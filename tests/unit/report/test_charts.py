import re
from xml.etree import ElementTree

import numpy as np
import pytest

from patent_embed.report import charts
from patent_embed.report.charts import Axis
from patent_embed.text import columns, cut


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
    assert Axis.over([], "").ticks  # nothing to show still has a frame


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


def test_columns_of_a_text() -> None:
    assert columns("专利ab") == 6
    assert cut("专利检索模型", 8) == "专利检…"
    assert cut("model", 5) == "model"
