"""Charts as inline SVG. Colours are the page's CSS variables, so that they follow its light or dark scheme.

Every chart is drawn 360 units wide, which is a phone's width: text keeps its size there, and a wide page sets several
side by side. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

from patent_embed.report.axes import Axis, Format, text_width
from patent_embed.text import cut

WIDTH = 360
"""Units of a chart's width."""

_HEIGHT = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 38
_ROW = 24  # of a bar chart
_COLUMNS = 50  # that fit beside each other, label and figure
_SCALE = 56  # from a scale of ``profiles`` to the next
_SIDE = 20  # beside its scales

PLOT = float(WIDTH - _LEFT - _RIGHT)
"""Units of a plot's width between its margins, where the labels on its left are of the usual length."""

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Dot:
    """A point of its own.

    Attributes:
        x: on the axis that runs across.
        y: on the one that runs up; None for what has no value there, which is drawn as a cross at the bottom.
        kind: its class in the page's CSS, which gives the colour.
        title: what a pointer over it shows.
    """

    x: float
    y: float | None
    kind: str
    title: str


@dataclass(frozen=True)
class Line:
    """A line through points.

    Attributes:
        xs: (n,) on the axis that runs across.
        ys: (n,) on the one that runs up.
        kind: its class in the page's CSS.
        title: what a pointer over it shows.
    """

    xs: ArrayLike
    ys: ArrayLike
    kind: str
    title: str = ""


def lines(series: Mapping[str, Points], x: Axis, y: Axis, *, dots: bool = False, name: str) -> Markup:
    """Lines through points: name → x and y values. ``dots`` marks each point."""
    frame = _Frame(x, y)
    marks = []
    for number, (xs, ys) in enumerate(series.values()):
        across, up = frame.across(xs), frame.up(ys)
        marks.append(f'<path class="line c{number}" d="{_path(across, up)}"/>')
        if dots:
            marks += [
                f'<circle class="c{number}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>'
                for a, b in zip(across, up, strict=True)
            ]
    return _chart(name, _HEIGHT, frame.axes() + "".join(marks))


def plot(drawn: Sequence[Line], dots: Sequence[Dot], x: Axis, y: Axis, *, name: str) -> Markup:
    """Lines and dots of any number, each with a class and a title of its own; the last ones lie on top."""
    frame = _Frame(x, y)
    marks = [_titled_path(line, frame.across(line.xs), frame.up(line.ys)) for line in drawn]
    for dot in dots:
        at = float(frame.across(dot.x))
        title = f"<title>{escape(dot.title)}</title>"
        if dot.y is None:
            cross = f"M{at - 3.5:.1f} {frame.bottom - 10}l7 7m0 -7l-7 7"
            marks.append(f'<path class="cross {escape(dot.kind)}" d="{cross}">{title}</path>')
        else:
            up = float(frame.up(dot.y))
            marks.append(f'<circle class="dot {escape(dot.kind)}" cx="{at:.1f}" cy="{up:.1f}" r="4">{title}</circle>')
    return _chart(name, _HEIGHT, frame.axes() + "".join(marks))


def profiles(scales: Sequence[Axis], drawn: Sequence[tuple[Sequence[float], str, str]], *, name: str) -> Markup:
    """Parallel coordinates: scales below one another, and a line down through them for each thing compared.

    Args:
        scales: two at least.
        drawn: a value for each scale, the class of the line in the page's CSS, and its title.
        name: what the chart shows.
    """
    begin, end = _SIDE, WIDTH - _SIDE
    heights = np.array([_SCALE * number + 22.0 for number in range(len(scales))])
    marks, texts = [], []
    for axis, height in zip(scales, heights, strict=True):
        marks.append(f'<path class="axis" d="M{begin} {height:.0f}H{end}"/>')
        texts.append(f'<text class="over label" x="{begin}" y="{height - 8:.0f}">{escape(axis.label)}</text>')
        ticks = axis.spaced(end - begin)
        for tick, at in zip(ticks, axis.place(ticks, begin, end), strict=True):
            marks.append(f'<path class="grid" d="M{at:.1f} {height - 3:.0f}v6"/>')
            texts.append(
                f'<text class="over middle" x="{at:.1f}" y="{height + 16:.0f}">{escape(axis.shown(tick))}</text>'
            )
    for values, kind, title in drawn:
        across = np.array([float(axis.place(v, begin, end)) for axis, v in zip(scales, values, strict=True)])
        marks.append(_titled_path(Line(across, heights, kind, title), across, heights))
    return _chart(name, heights[-1] + 24, "".join([*marks, *texts]))


def areas(
    series: Mapping[str, NDArray[np.float64]], edges: NDArray[np.float64], x: Axis, y: Axis, *, name: str
) -> Markup:
    """Histograms over common bins ``edges`` (b + 1,), drawn over each other: name → heights (b,)."""
    frame = _Frame(x, y)
    marks = []
    corner = np.repeat(frame.across(edges), 2)
    for number, heights in enumerate(series.values()):
        up = frame.up(np.concatenate([[0], np.repeat(heights, 2), [0]]))
        marks.append(f'<path class="area c{number}" d="{_path(corner, up)}Z"/>')
    return _chart(name, _HEIGHT, frame.axes() + "".join(marks))


def scatter(
    points: NDArray[np.float64], groups: Sequence[str], order: Sequence[str], x: Axis, y: Axis, *, name: str
) -> Markup:
    """Dots ``points`` (n, 2), coloured by their group's place in ``order``."""
    across = x.place(points[:, 0], 8, WIDTH - 8)
    up = y.place(points[:, 1], WIDTH * 0.85 - 8, 8)
    of = np.asarray(groups, object)
    marks = []
    for number, group in enumerate(order):
        mine = np.flatnonzero(of == group)
        # A stroke of no length with round ends is a dot: one element a group, a few bytes a patent.
        dots = "".join(f"M{a:.0f} {b:.0f}h0" for a, b in zip(across[mine], up[mine], strict=True))
        marks.append(f'<path class="dots c{number}" d="{dots}"/>' if dots else "")
    return _chart(
        name,
        WIDTH * 0.85,
        f'<rect class="frame" x="1" y="1" width="{WIDTH - 2}" height="{WIDTH * 0.85 - 2:.0f}"/>' + "".join(marks),
    )


def bars(values: Mapping[str, float], *, name: str, shown: Format = "{:,.0f}".format) -> Markup:
    """Horizontal bars, one a label, with their values as text."""
    longest = max(values.values(), default=0) or 1
    marks = []
    for number, (label, value) in enumerate(values.items()):
        top, figure = number * _ROW, shown(value)
        short = cut(label, _COLUMNS - len(figure))
        whole = f"<title>{escape(label)}</title>" if short != label else ""
        marks.append(
            f'<text x="0" y="{top + 10}">{whole}{escape(short)}</text>'
            f'<text class="end" x="{WIDTH}" y="{top + 10}">{escape(figure)}</text>'
            f'<rect class="track" x="0" y="{top + 14}" width="{WIDTH}" height="5" rx="2"/>'
            f'<rect class="c0" x="0" y="{top + 14}" width="{value / longest * WIDTH:.1f}" height="5" rx="2"/>'
        )
    return _chart(name, _ROW * len(values), "".join(marks))


def interval(low: float, value: float, high: float, reach: float, verdict: str, *, name: str) -> Markup:
    """A difference with its interval on a line from -``reach`` to ``reach``, zero in the middle.

    Args:
        low: where the interval begins.
        value: the difference.
        high: where the interval ends.
        reach: half the line's length, above zero.
        verdict: gives the colour: ``better``, ``worse``, or anything else.
        name: what the chart shows.
    """
    axis = Axis(-reach, reach, "", (), str)
    a, b, c = np.clip(axis.place([low, value, high], 4, 116), 1, 119)
    kind = verdict if verdict in ("better", "worse") else "even"
    return Markup(
        f'<svg class="interval {kind}" viewBox="0 0 120 16" width="120" height="16" role="img" '
        f'aria-label="{escape(name)}">'
        f'<path class="zero" d="M60 0V16"/><path class="range" d="M{a:.1f} 8H{c:.1f}"/>'
        f'<circle cx="{b:.1f}" cy="8" r="4"/></svg>'
    )


class _Frame:
    """Where a plot's values lie, and its axes. The left margin grows with the labels that stand in it."""

    bottom = _HEIGHT - _BOTTOM

    def __init__(self, x: Axis, y: Axis) -> None:
        self._x, self._y = x, y
        widest = max((text_width(y.shown(tick)) for tick in y.ticks), default=0.0)
        self._left, self._right = max(_LEFT, round(widest) + 6), WIDTH - _RIGHT

    def across(self, values: ArrayLike) -> NDArray[np.float64]:
        return self._x.place(values, self._left, self._right)

    def up(self, values: ArrayLike) -> NDArray[np.float64]:
        return self._y.place(values, self.bottom, _TOP)

    def axes(self) -> str:
        marks = []
        for tick, at in zip(self._y.ticks, self.up(self._y.ticks), strict=True):
            marks.append(f'<path class="grid" d="M{self._left} {at:.1f}H{self._right}"/>')
            marks.append(
                f'<text class="end" x="{self._left - 6}" y="{at + 4:.1f}">{escape(self._y.shown(tick))}</text>'
            )
        ticks = self._x.spaced(self._right - self._left)
        for tick, at in zip(ticks, self.across(ticks), strict=True):
            text = escape(self._x.shown(tick))
            marks.append(f'<text class="middle" x="{at:.1f}" y="{self.bottom + 16}">{text}</text>')
        marks.append(f'<path class="axis" d="M{self._left} {self.bottom}H{self._right}"/>')
        middle = (self._left + self._right) / 2
        marks.append(f'<text class="middle label" x="{middle}" y="{_HEIGHT - 4}">{escape(self._x.label)}</text>')
        return "".join(marks)


def _chart(name: str, height: float, marks: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(name)}">{marks}</svg>'
    )


def _titled_path(line: Line, across: NDArray[np.float64], up: NDArray[np.float64]) -> str:
    title = f"<title>{escape(line.title)}</title>" if line.title else ""
    return f'<path class="line {escape(line.kind)}" d="{_path(across, up)}">{title}</path>'


def _path(across: NDArray[np.float64], up: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(across, up, strict=True))
