"""Which epoch a training publishes, and whether it stops early: nothing but what a paired test shows counts.

The last epoch is published unless an earlier one is better on the validation queries by more than chance explains: a
few dozen queries rank epochs by luck, and the last one has had the whole of the learning rate's course. Where the test
cannot tell, ``Doubt`` says how many queries it would take.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patent_embed.evaluation.metrics import Floats
from patent_embed.evaluation.significance import paired_randomisation

LEVEL = 0.05  # a difference that chance makes this rarely is one
RESAMPLES = 4000
# Normal quantiles of a two-sided test at 5 % that finds a true difference four times in five.
_LEVEL_Z, _POWER_Z = 1.95996, 0.84162


@dataclass(frozen=True)
class Validation:
    """What judges an epoch.

    Attributes:
        measure: nDCG@10 of the encoder as it is on each query, (q,); every rank calls it and gets the same.
        unit: (q,) the patent of each query: several of one are no independent evidence.
    """

    measure: Callable[[], Floats]
    unit: NDArray[np.int64]


@dataclass(frozen=True)
class Doubt:
    """How sure it is that the first of two systems is better than the second.

    Attributes:
        difference: of the means over queries.
        p_value: of a paired randomisation test, two-sided, times the number of comparisons it was picked from.
        queries: that were asked.
        needed: queries that would show such a difference four times in five; None where there is none to show.
    """

    difference: float
    p_value: float
    queries: int
    needed: int | None

    @property
    def shown(self) -> bool:
        """Whether the first is better by more than chance explains."""
        return self.difference > 0 and self.p_value < LEVEL


def doubt(ours: Floats, theirs: Floats, unit: NDArray[np.int64], *, seed: int, comparisons: int = 1) -> Doubt:
    """``ours`` against ``theirs`` on the same queries, (q,) each, of the patents ``unit`` (q,).

    ``comparisons``: so many systems ``ours`` is the best of; the p-value is adjusted for them (Bonferroni).
    """
    difference = ours - theirs
    mean = float(difference.mean())
    p_value = min(1.0, comparisons * paired_randomisation(difference, unit, seed, RESAMPLES)) if mean else 1.0
    return Doubt(mean, p_value, len(difference), queries_needed(difference))


def queries_needed(difference: Floats) -> int | None:
    """Queries with which a paired test at the 5 % level finds a mean difference like this one four times in five.

    ``((z_level + z_power) sd / mean)^2``, for per-query differences (q,); None where they are all alike or even.
    """
    mean, deviation = float(difference.mean()), float(difference.std())
    if not mean or not deviation:
        return None
    return math.ceil(((_LEVEL_Z + _POWER_Z) * deviation / mean) ** 2)


def doubt_line(best_epoch: int, found: Doubt) -> str:
    """Why the best epoch is not the one that is published."""
    chance = f"epoch {best_epoch} is {found.difference:.4f} better on val, p = {found.p_value:.2f}: "
    if found.needed is None:
        return f"{chance}{found.queries:,} queries cannot tell"
    return f"{chance}{found.queries:,} queries cannot tell, about {found.needed:,} would"
