"""Whether more patents, or more queries a patent, would still help: trainings on nested parts of what there is.

What the last doubling brought, from half to all, is what the next one would bring at best, since such curves flatten.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import grouped, places_in
from patent_embed.evaluation.metrics import Floats
from patent_embed.hashing import hash64
from patent_embed.training.data import TripletData
from patent_embed.training.selection import Doubt, doubt

Unit = Literal["patents", "queries"]
SHARES = (0.25, 0.5, 1.0)  # of what there is


def part_of(data: TripletData, unit: Unit, share: float, seed: int) -> TripletData:
    """A share of the triplets, above 0. A smaller share is a part of each larger one, drawn by a seeded hash.

    ``patents``: those of a share of the families that ask, with all their queries. ``queries``: of every family a share
    of its queries, one at least. Texts are not taken out: what no triplet names is not read.
    """
    query = data.triplets[:, 0]
    asking = np.unique(query)
    family = np.asarray(data.family)[asking]
    if unit == "patents":
        families = np.unique(family)
        kept = np.isin(family, families[_first(families, share, seed, unit)])
    else:
        number = np.unique(family, return_inverse=True)[1]
        shuffled = np.argsort(_hashes(asking, seed, unit), kind="stable")
        order, start = grouped(number[shuffled], int(number.max(initial=-1)) + 1)
        sizes = np.diff(start)
        kept = np.zeros(len(asking), np.bool_)
        kept[shuffled[order]] = places_in(sizes) < np.repeat(np.ceil(share * sizes), sizes)
    rows = np.flatnonzero(np.isin(query, asking[kept]))
    mixture = data.mixture
    if mixture is not None:
        mixture = replace(mixture, source=mixture.source[rows], grade=mixture.grade[rows])
    return replace(data, triplets=np.asarray(data.triplets)[rows], mixture=mixture)


def _first(values: NDArray[np.int64], share: float, seed: int, purpose: str) -> NDArray[np.int64]:
    """Places of a share of ``values``, those whose hashes are smallest."""
    order = np.argsort(_hashes(values, seed, purpose), kind="stable")
    found: NDArray[np.int64] = order[: int(np.ceil(share * len(values)))]
    return found


def _hashes(values: NDArray[np.int64], seed: int, purpose: str) -> NDArray[np.uint64]:
    return np.array([hash64(str(value), seed, f"part of {purpose}") for value in values.tolist()], np.uint64)


@dataclass(frozen=True)
class Curve:
    """nDCG@10 of trainings on shares of a unit, on the same val queries.

    Attributes:
        means: share → mean; 0 is the model before training.
        last: how sure it is that all is better than half.
    """

    unit: Unit
    means: Mapping[float, float]
    last: Doubt

    @classmethod
    def of(cls, unit: Unit, values: Mapping[float, Floats], patent: NDArray[np.int64], seed: int) -> Curve:
        """``values``: share → (q,), of ``SHARES`` and 0; ``patent`` (q,): what is no independent evidence."""
        means = {share: float(values[share].mean()) for share in sorted(values)}
        return cls(unit, means, doubt(values[SHARES[-1]], values[SHARES[-2]], patent, seed=seed))

    def lines(self) -> list[str]:
        """The curve, and what follows from it."""
        shown = ", ".join(f"{share:.0%} {mean:.4f}" for share, mean in self.means.items())
        found, brings = self.last, f"the last doubling of {self.unit} brought {self.last.difference:+.4f}"
        curve = f"{self.unit}: nDCG@10 on {found.queries:,} val queries: {shown}"
        if found.shown:
            return [curve, f"{brings} (p = {found.p_value:.3f}): more {self.unit} may still help"]
        needed = f"; about {found.needed:,} queries would" if found.needed and found.difference > 0 else ""
        return [
            curve,
            f"{brings} (p = {found.p_value:.2f}), which these queries cannot tell from nothing{needed}: do not pay "
            f"for more {self.unit}",
        ]

    def as_json(self) -> dict[str, Any]:
        """JSON-able."""
        means = {f"{share:g}": round(mean, 6) for share, mean in self.means.items()}
        return {"unit": self.unit, "means": means, "last": asdict(self.last)}


def curves_in(report: Sequence[Mapping[str, Any]]) -> list[Curve]:
    """The curves that ``as_json`` gave."""
    return [
        Curve(each["unit"], {float(share): mean for share, mean in each["means"].items()}, Doubt(**each["last"]))
        for each in report
    ]
