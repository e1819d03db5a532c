"""report.html: one self-contained page, no script, no network. ``report.html.jinja`` is its text."""

from __future__ import annotations

from pathlib import Path

from patent_embed.evaluation.measure import DEPTH, HEADLINE
from patent_embed.evaluation.slices import ENOUGH_FOR_A_SLICE
from patent_embed.folders import write_atomic
from patent_embed.report import content, figures
from patent_embed.report.content import LABELS, RunReport
from patent_embed.report.templates import fill


def write_report_html(path: Path, report: RunReport) -> None:
    """Write the page. Parts that ``report`` has nothing for are left out."""
    verdict = report.comparisons[0] if report.comparisons else None
    found = {
        "report": report,
        "verdict": verdict,
        "verdict_line": content.sentence(content.verdict_line(verdict)) if verdict else "",
        "regressed": bool(report.slices and report.slices.found("worse")),
        "evidence": [content.sentence(line) for line in content.evidence_lines(report)],
        "results": [*content.result_tables(report.results), *content.interval_tables(report.intervals)],
        "comparisons": figures.comparison_rows(report.comparisons),
        "slices": figures.slice_tables(report.slices),
        "scores": figures.score_panels(report.results),
        "maps": figures.map_panels(report.results),
        "validation": content.validation_line(report),
        "curves": figures.curve_figures(report),
        "forgetting": figures.forgetting_rows(report.forgetting),
        "judged": content.judge_notes(report),
        "tables": figures.data_figures(report),
        "negatives": figures.negative_figures(report.negatives),
        "timings": figures.time_figures(report),
        "settings": content.settings_text(report),
        "versions": content.versions_text(report.versions),
        "depth": DEPTH,
        "headline_metric": LABELS[HEADLINE],
        "p_text": content.p_text,
        "enough": ENOUGH_FOR_A_SLICE,
    }
    write_atomic(path, fill("report.html.jinja", found).encode())
