"""What a search for negatives counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from patent_embed.arrays import Int32, Int64
from patent_embed.negatives.ladder import RUNGS

SEARCH_COUNTS = ("same_family", "shared_code", "walks_cut")


@dataclass
class Tally:
    """What the report counts.

    Attributes:
        k: negatives that every anchor should have.
        rungs: negatives of each rung.
        anchors: by their number of negatives, 0 to k.
        search: candidates that were refused, by reason, and walks that ended early.
    """

    k: int
    rungs: Int64 = field(default_factory=lambda: np.zeros(len(RUNGS), np.int64))
    anchors: Int64 = field(init=False)
    search: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(SEARCH_COUNTS, 0)))

    def __post_init__(self) -> None:
        self.anchors = np.zeros(self.k + 1, np.int64)

    def count(self, counts: Int64, rungs: Int32) -> None:
        """Add a block of anchors that have ``counts`` (n,) negatives each, from ``rungs`` (m,)."""
        self.rungs += np.bincount(rungs, minlength=len(RUNGS))
        self.anchors += np.bincount(counts, minlength=self.k + 1)

    def numbers(self) -> list[int]:
        """All counts, for ``add``."""
        return [*self.rungs.tolist(), *self.anchors.tolist(), *(self.search[name] for name in SEARCH_COUNTS)]

    def add(self, numbers: list[int]) -> None:
        """Add the ``numbers()`` of another tally with the same ``k``."""
        rungs, rest = numbers[: len(RUNGS)], numbers[len(RUNGS) :]
        self.rungs += np.array(rungs)
        self.anchors += np.array(rest[: self.k + 1])
        self.search.update(dict(zip(SEARCH_COUNTS, rest[self.k + 1 :], strict=True)))

    def report(self, group_sizes: Mapping[str, int]) -> dict[str, Any]:
        """The counts by name, JSON-able. ``group_sizes``: patents of each main group; the ten largest are named."""
        anchors = self.anchors.tolist()
        largest = sorted(group_sizes.items(), key=lambda item: (-item[1], item[0]))[:10]
        return {
            "anchors": sum(anchors),
            "negatives": int(self.rungs.sum()),
            "rungs": dict(zip(RUNGS, self.rungs.tolist(), strict=True)),
            # negatives missing → anchors
            "shortfall": {str(self.k - has): anchors[has] for has in reversed(range(self.k)) if anchors[has]},
            "anchors_without_negatives": anchors[0],
            # candidates looked at and refused; other splits are not even looked at
            "filtered": {reason: number for reason, number in sorted(self.search.items()) if reason != "walks_cut"},
            "walks_cut": self.search["walks_cut"],
            "largest_groups": [{"main_group": group, "patents": size} for group, size in largest],
        }
