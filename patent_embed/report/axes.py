"""Axes of a chart, linear or logarithmic: round ticks, of which only so many are drawn as have room for their labels.

Lengths are in the units of a chart, of which ``charts.WIDTH`` make its width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from patent_embed.text import columns

COLUMN = 6.6
"""Units that a column of a label takes: a digit, a letter, half a Chinese character."""

_GAP = 8.0  # units between two labels

Format = Callable[[float], str]


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` along a line.

    Attributes:
        low: the value at its beginning.
        high: the value at its end, larger than ``low``.
        label: what the values are.
        ticks: values that are marked, in ascending order.
        shown: a tick as text.
        ranks: a whole number a tick: where there is no room for all, every second, third … number is kept. Without
            them, all ticks are drawn.
        log: whether the distance of two values is their ratio; both ends are then above zero.
    """

    low: float
    high: float
    label: str
    ticks: Sequence[float]
    shown: Format
    ranks: Sequence[int] = field(default=())
    log: bool = False

    @classmethod
    def over(
        cls,
        values: ArrayLike,
        label: str,
        *,
        count: int = 4,
        whole: bool = False,
        margin: float = 0.0,
        least: float = -math.inf,
        most: float = math.inf,
    ) -> Axis:
        """A linear axis with round ticks over all ``values``.

        Args:
            values: any number of them, in any shape.
            label: what they are.
            count: steps between ticks, about.
            whole: ticks at whole numbers only.
            margin: room at both ends, a share of the range.
            least: no value can be smaller, so no tick is.
            most: no value can be larger, so no tick is.
        """
        found = np.asarray(values, np.float64)
        low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 1.0)
        if low == high:
            low, high = max(low - 0.5, min(low, least)), min(high + 0.5, max(high, most))
        low, high = low - margin * (high - low), high + margin * (high - low)
        step = _round_step((high - low) / count)
        step = max(1.0, round(step)) if whole else step
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        ranks = range(math.ceil(max(low, least) / step - 1e-9), math.floor(min(high, most) / step + 1e-9) + 1)
        return cls(low, high, label, [rank * step for rank in ranks], lambda value: f"{value:,.{digits}f}", ranks)

    @classmethod
    def logarithmic(cls, low: float, high: float, label: str, *, margin: float = 0.0) -> Axis:
        """An axis from ``low`` to ``high``, both above zero, with ticks at 1, 2 and 5 times powers of ten.

        Where the range holds fewer than two of these, its ticks are those of a linear axis. ``margin`` is room at both
        ends, a share of the axis.
        """
        exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        # Powers of ten have even ranks: they are what is left when the others have no room.
        marks = [(factor * 10.0**e, 2 * e if factor == 1 else 1) for e in exponents for factor in (1, 2, 5)]
        inside = [(tick, rank) for tick, rank in marks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
        room = (high / low) ** margin
        if len(inside) < 2:
            linear = cls.over([low, high], label)
            return cls(low / room, high * room, label, linear.ticks, number_text, linear.ranks, log=True)
        ticks, ranks = zip(*inside, strict=True)
        return cls(low / room, high * room, label, ticks, number_text, ranks, log=True)

    @classmethod
    def of(cls, choices: Sequence[Any], label: str, *, length: float) -> Axis:
        """An axis of categories, with a tick for each of ``choices``: the first at 0, the second at 1 and so on.

        Args:
            choices: at least one.
            label: what is chosen.
            length: units that the axis will be long. Where one choice takes more than its share of them, their numbers
                stand for all: 1, 2 and so on.
        """
        texts, room = [choice_text(choice) for choice in choices], length / len(choices) - _GAP
        if any(text_width(text) > room for text in texts):
            texts, label = [f"{number}" for number in range(1, len(choices) + 1)], f"{label}, by number in the list"
        ranks = range(len(choices))
        return cls(-0.5, len(choices) - 0.5, label, ranks, lambda place: texts[round(place)], ranks)

    def place(self, values: ArrayLike, begin: float, end: float) -> NDArray[np.float64]:
        """Where ``values`` lie between the coordinates ``begin`` and ``end``; of the same shape."""
        found, low, high = np.asarray(values, np.float64), self.low, self.high
        if self.log:
            found, low, high = np.log(found), math.log(low), math.log(high)
        placed: NDArray[np.float64] = begin + (found - low) / (high - low) * (end - begin)
        return placed

    def spaced(self, length: float) -> list[float]:
        """The ticks whose labels stand apart when they are written beside one another.

        Args:
            length: units from the axis's beginning to its end.

        Returns:
            All ticks where there is room; otherwise those with every second rank, every third and so on.
        """
        if len(self.ranks) != len(self.ticks):
            return list(self.ticks)
        farthest = max(map(abs, self.ranks), default=0)
        for every in range(1, farthest + 2):
            kept = [tick for tick, rank in zip(self.ticks, self.ranks, strict=True) if rank % every == 0]
            if kept and self._apart(kept, length):
                return kept
        return list(self.ticks[:1])

    def _apart(self, ticks: Iterable[float], length: float) -> bool:
        middles = self.place(list(ticks), 0.0, length)
        halves = [text_width(self.shown(tick)) / 2 for tick in ticks]
        return all(
            middles[i] + halves[i] + _GAP <= middles[i + 1] - halves[i + 1] + 1e-6 for i in range(len(middles) - 1)
        )


def text_width(text: str) -> float:
    """Units that a label takes, estimated from its columns."""
    return columns(text) * COLUMN


def number_text(value: float) -> str:
    """A number in few characters: ``3e-5``, ``0.25``, ``64``, ``1.5e6``."""
    if value and not 0.01 <= abs(value) < 1e6:
        digits, _, exponent = f"{value:.2e}".partition("e")
        return f"{digits.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"


def choice_text(value: Any) -> str:
    """A value of a setting in few characters; numbers as ``number_text`` has them."""
    return number_text(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _round_step(step: float) -> float:
    """The next of 1, 2, 5 times a power of ten that is at least ``step``."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * (1 - 1e-9))
