"""Whether one system is better than another on the same queries."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from patent_embed.arrays import numbered
from patent_embed.evaluation import significance
from patent_embed.evaluation.measure import HEADLINE, EvalResult

LEVEL = 0.05  # a difference that chance makes this rarely is one


@dataclass(frozen=True)
class Comparison:
    """One system against another on the same headline queries.

    Attributes:
        queries, patents: how many were asked, and of how many patents.
        difference: of the means, the system's less the baseline's.
        low, high: bounds of the difference with 95 % confidence, by a paired bootstrap that draws whole patents.
        p_value: of a paired randomisation test, two-sided, that swaps whole patents.
        verdict: ``better`` or ``worse`` when both agree that there is a difference at the 5 % level, else
            ``no difference``.
    """

    system: str
    baseline: str
    split: str
    metric: str
    queries: int
    patents: int
    system_mean: float
    baseline_mean: float
    difference: float
    low: float
    high: float
    p_value: float
    verdict: str

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, JSON-able."""
        return asdict(self)


def compare(
    system: EvalResult, baseline: EvalResult, *, split: str = "test", metric: str = HEADLINE, seed: int = 0
) -> Comparison | None:
    """Whether ``system`` is better than ``baseline``; None when ``split`` has no queries.

    Raises ValueError where they were not measured on the same queries.
    """
    ours, theirs = system.rows(split), baseline.rows(split)
    for key in ("publication_number", "query_no"):
        if ours[key].to_pylist() != theirs[key].to_pylist():
            raise ValueError(f"{system.name} and {baseline.name} were not measured on the same {split} queries")
    return compare_rows(system.name, baseline.name, ours, theirs, split=split, metric=metric, seed=seed)


def compare_rows(
    system: str,
    baseline: str,
    ours: pa.Table,
    theirs: pa.Table,
    *,
    split: str,
    metric: str,
    seed: int,
    resamples: int = significance.RESAMPLES,
) -> Comparison | None:
    """``compare`` of given rows of ``PER_QUERY``, the same queries in both tables; None without any."""
    if not len(ours):
        return None
    own, other = (table[metric].to_numpy() for table in (ours, theirs))
    patent = numbered(ours["publication_number"])[0].astype(np.int64)
    difference = own - other
    low, high = significance.paired_bootstrap(difference, patent, seed)
    p_value = significance.paired_randomisation(difference, patent, seed, resamples)
    return Comparison(
        system=system,
        baseline=baseline,
        split=split,
        metric=metric,
        queries=len(ours),
        patents=len(np.unique(patent)),
        system_mean=float(own.mean()),
        baseline_mean=float(other.mean()),
        difference=float(difference.mean()),
        low=low,
        high=high,
        p_value=p_value,
        verdict=verdict(low, high, p_value),
    )


def verdict(low: float, high: float, p_value: float) -> str:
    """``better`` or ``worse`` where interval and test agree that there is a difference, else ``no difference``."""
    if p_value < LEVEL and (low > 0 or high < 0):
        return "better" if low > 0 else "worse"
    return "no difference"
