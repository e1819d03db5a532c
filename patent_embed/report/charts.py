"""Charts as inline SVG. Colours are the page's CSS variables, so that they follow its light or dark scheme.

Every chart is drawn 360 units wide, which is a phone's width: text keeps its size there, and a wide page sets several
side by side. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import ArrayLike, NDArray

from patent_embed.text import cut

WIDTH = 360
_HEIGHT = 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 38
_ROW = 24  # of a bar chart
_COLUMNS = 50  # that fit beside each other, label and figure

Format = Callable[[float], str]
Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Axis:
    """A linear axis: values from ``low`` to ``high`` at ``ticks``."""

    low: float
    high: float
    label: str
    ticks: Sequence[float]
    shown: Format

    @classmethod
    def over(
        cls,
        values: ArrayLike,
        label: str,
        *,
        count: int = 4,
        whole: bool = False,
        margin: float = 0.0,
        most: float = math.inf,
    ) -> Axis:
        """An axis with round ticks over all ``values``; ``whole``: ticks at integers only; ``margin``: room at both
        ends, a share of the range; ``most``: no value can be larger, so no tick is."""
        found = np.asarray(values, np.float64)
        low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
        if low == high:
            low, high = low - 0.5, min(high + 0.5, max(high, most))
        low, high = low - margin * (high - low), high + margin * (high - low)
        step = _round_step((high - low) / count)
        step = max(1.0, round(step)) if whole else step
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        ticks = [
            tick * step for tick in range(math.ceil(low / step - 1e-9), math.floor(min(high, most) / step + 1e-9) + 1)
        ]
        return cls(low, high, label, ticks, lambda value: f"{value:,.{digits}f}")

    def place(self, values: ArrayLike, begin: float, end: float) -> NDArray[np.float64]:
        """Where ``values`` lie between the coordinates ``begin`` and ``end``."""
        share = (np.asarray(values, np.float64) - self.low) / (self.high - self.low)
        placed: NDArray[np.float64] = begin + share * (end - begin)
        return placed


def lines(series: Mapping[str, Points], x: Axis, y: Axis, *, dots: bool = False, name: str) -> Markup:
    """Lines through points: name → x and y values. ``dots`` marks each point."""
    marks = []
    for number, (xs, ys) in enumerate(series.values()):
        across, up = x.place(xs, _LEFT, WIDTH - _RIGHT), y.place(ys, _HEIGHT - _BOTTOM, _TOP)
        marks.append(f'<path class="line c{number}" d="{_path(across, up)}"/>')
        if dots:
            marks += [
                f'<circle class="c{number}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>'
                for a, b in zip(across, up, strict=True)
            ]
    return _chart(name, _HEIGHT, _axes(x, y) + "".join(marks))


def areas(
    series: Mapping[str, NDArray[np.float64]], edges: NDArray[np.float64], x: Axis, y: Axis, *, name: str
) -> Markup:
    """Histograms over common bins ``edges`` (b + 1,), drawn over each other: name → heights (b,)."""
    marks = []
    corner = np.repeat(x.place(edges, _LEFT, WIDTH - _RIGHT), 2)
    for number, heights in enumerate(series.values()):
        up = y.place(np.concatenate([[0], np.repeat(heights, 2), [0]]), _HEIGHT - _BOTTOM, _TOP)
        marks.append(f'<path class="area c{number}" d="{_path(corner, up)}Z"/>')
    return _chart(name, _HEIGHT, _axes(x, y) + "".join(marks))


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
    """A difference with its interval on a line from -``reach`` to ``reach``, zero in the middle, in the colour of its
    ``verdict``."""
    axis = Axis(-reach, reach, "", (), str)
    a, b, c = np.clip(axis.place([low, value, high], 4, 116), 1, 119)
    kind = verdict if verdict in ("better", "worse") else "even"
    return Markup(
        f'<svg class="interval {kind}" viewBox="0 0 120 16" width="120" height="16" role="img" '
        f'aria-label="{escape(name)}">'
        f'<path class="zero" d="M60 0V16"/><path class="range" d="M{a:.1f} 8H{c:.1f}"/>'
        f'<circle cx="{b:.1f}" cy="8" r="4"/></svg>'
    )


def _chart(name: str, height: float, marks: str) -> Markup:
    return Markup(
        f'<svg class="chart" viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(name)}">{marks}</svg>'
    )


def _axes(x: Axis, y: Axis) -> str:
    bottom, marks = _HEIGHT - _BOTTOM, []
    for tick, at in zip(y.ticks, y.place(y.ticks, bottom, _TOP), strict=True):
        marks.append(f'<path class="grid" d="M{_LEFT} {at:.1f}H{WIDTH - _RIGHT}"/>')
        marks.append(f'<text class="end" x="{_LEFT - 6}" y="{at + 4:.1f}">{y.shown(tick)}</text>')
    for tick, at in zip(x.ticks, x.place(x.ticks, _LEFT, WIDTH - _RIGHT), strict=True):
        marks.append(f'<text class="middle" x="{at:.1f}" y="{bottom + 16}">{x.shown(tick)}</text>')
    marks.append(f'<path class="axis" d="M{_LEFT} {bottom}H{WIDTH - _RIGHT}"/>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    marks.append(f'<text class="middle label" x="{middle}" y="{_HEIGHT - 4}">{escape(x.label)}</text>')
    return "".join(marks)


def _path(across: NDArray[np.float64], up: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(across, up, strict=True))


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten that is at least ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
