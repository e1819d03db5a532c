"""What the page says of the run: its verdict and its figures on the test queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from patent_embed.evaluation.comparison import Comparison
from patent_embed.report.content import LABELS, number, sentence, verdict_line

_SHOWN = ("ndcg@10", "mrr@10", "recall@10")


@dataclass(frozen=True)
class RunFacts:
    """The verdict, as a sentence and as ``better``, ``worse`` or ``no difference``; and the figures, a row a system.

    Attributes:
        header: names of the metrics.
        rows: system and its figures as text.
        queries: of the test set.
        finished: when the run began, as its summary says.
    """

    verdict: str = ""
    kind: str = ""
    header: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    queries: int = 0
    finished: str = ""


def run_facts(metrics: Mapping[str, Any], summary: Mapping[str, Any]) -> RunFacts:
    """From the content of metrics.json and run_summary.json."""
    compared = next((Comparison(**each) for each in metrics.get("comparisons", ()) if each["split"] == "test"), None)
    systems = {name: found.get("test", {}) for name, found in metrics.get("systems", {}).items()}
    rows = [
        [name, *(number(found["metrics"][metric], "–") for metric in _SHOWN)]
        for name, found in systems.items()
        if found.get("metrics")
    ]
    return RunFacts(
        sentence(verdict_line(compared)) if compared else "",
        compared.verdict if compared else "",
        [LABELS[metric] for metric in _SHOWN],
        rows,
        max((int(found.get("queries", 0)) for found in systems.values()), default=0),
        str(summary.get("started", "")),
    )
