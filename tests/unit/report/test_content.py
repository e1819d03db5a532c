"""The sentences and rows of a report."""

from __future__ import annotations

import pytest

from patent_embed.evaluation.comparison import compare
from patent_embed.report.content import verdict_line
from tests.unit.report.conftest import result


@pytest.mark.parametrize(
    ("gain", "said"), [(0.1, "tuned is better than base"), (-0.1, "tuned is worse than base"), (0.0, "no difference")]
)
def test_verdict_line(gain: float, said: str) -> None:
    comparison = compare(result("tuned", gain), result("base", 0.0))
    assert comparison is not None
    line = verdict_line(comparison)
    assert line.startswith(said)
    assert f"{gain:+.4f} [" in line
    assert line.endswith("p = 1.000, 80 queries" if gain == 0 else "p < 0.001, 80 queries")
