"""metrics.json: the figures of a run for programs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from patent_embed.evaluation.measure import HEADLINE
from patent_embed.folders import write_json
from patent_embed.report.content import RunReport

METRICS_SCHEMA_VERSION = 1
"""Goes up when a program that reads metrics.json would have to change."""


def write_metrics(path: Path, report: RunReport) -> None:
    """Write metrics.json.

    It has ``schema_version``; ``headline``, the metric that decides; ``systems``, name → scale, and for each split the
    sources and number of the headline queries, ``metrics``, and the same ``by_source``; ``comparisons``; ``slices`` and
    ``forgetting`` of the first of them; of a benchmark also its parts as splits, and ``intervals`` of the systems'
    means. A metric without anything to measure is null.
    """
    systems = {
        result.name: {"scale": result.scale} | {split: result.summary(split) for split in result.splits}
        for result in report.results
    }
    write_json(
        path,
        {
            "schema_version": METRICS_SCHEMA_VERSION,
            "headline": HEADLINE,
            "systems": systems,
            "comparisons": [comparison.as_dict() for comparison in report.comparisons],
            "slices": [asdict(part) for part in report.slices.slices] if report.slices else [],
            "forgetting": [asdict(found) | {"verdict": found.verdict} for found in report.forgetting],
        }
        | ({"intervals": [asdict(each) for each in report.intervals]} if report.intervals else {}),
    )
