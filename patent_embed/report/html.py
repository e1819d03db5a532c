"""report.html: one self-contained page, no script, no network. ``report.html.jinja`` is its text, this its figures.

The template engine escapes every text of the data; markup comes from ``charts`` alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from patent_embed.data.cleaning import detect_language
from patent_embed.evaluation.forgetting import LANGUAGES
from patent_embed.evaluation.measure import DEPTH, EVALUATED_SPLITS, HEADLINE, EvalResult
from patent_embed.evaluation.patent_map import turned_onto
from patent_embed.evaluation.slices import ENOUGH_FOR_A_SLICE, Slice
from patent_embed.folders import write_atomic
from patent_embed.ipc import SECTIONS
from patent_embed.progress.clock import duration
from patent_embed.report import charts
from patent_embed.report.charts import Axis
from patent_embed.report.content import (
    LABELS,
    RunReport,
    evidence_lines,
    headline,
    metric_rows,
    p_text,
    sentence,
    verdict_line,
)

_BINS = 40
_CURVE_POINTS = 200
_MARGIN = 0.06  # above and below a curve
_FEW = 12  # slices of a dimension shown without asking


def write_report_html(path: Path, report: RunReport) -> None:
    """Write the page. Parts that ``report`` has nothing for are left out."""
    environment = Environment(
        loader=PackageLoader("patent_embed.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"language": _language, "duration": duration, "count": lambda number: f"{number:,}"}
    page = environment.get_template("report.html.jinja").render(
        report=report,
        verdict=report.comparisons[0] if report.comparisons else None,
        verdict_line=sentence(verdict_line(report.comparisons[0])) if report.comparisons else "",
        regressed=bool(report.slices and report.slices.found("worse")),
        evidence=[sentence(line) for line in evidence_lines(report)],
        results=_results(report.results),
        comparisons=_comparisons(report),
        slices=_slices(report),
        scores=_scores(report.results),
        maps=_maps(report.results),
        curves=_curves(report),
        forgetting=[
            {"found": found, "name": LANGUAGES.get(found.language, "all"), "change": _interval(found)}
            for found in report.forgetting
        ],
        tables=_tables(report),
        negatives=_negatives(report.negatives),
        timings=_timings(report),
        settings=yaml.safe_dump(dict(report.settings), allow_unicode=True, sort_keys=False) if report.settings else "",
        depth=DEPTH,
        headline_metric=LABELS[HEADLINE],
        p_text=p_text,
        enough=ENOUGH_FOR_A_SLICE,
    )
    write_atomic(path, page.encode())


def _language(text: str) -> str:
    """Which fonts and line breaks a text wants: the value of an HTML ``lang``."""
    return detect_language(text) if text and detect_language(text) != "other" else ""


def _results(results: Sequence[EvalResult]) -> list[dict[str, Any]]:
    return [
        {"split": split, "headline": headline(results, split), "labels": list(LABELS.values()), "rows": rows}
        for split in reversed(EVALUATED_SPLITS)
        if (rows := metric_rows(results, split))
    ]


def _comparisons(report: RunReport) -> list[dict[str, Any]]:
    reach = _reach(report.comparisons)
    return [{"found": found, "change": _interval(found, reach)} for found in report.comparisons]


def _reach(found: Iterable[Any]) -> float:
    """Half the width of an interval chart: the farthest end of any."""
    return max((abs(end) for item in found for end in (item.low, item.high)), default=0.0) or 1.0


def _interval(found: Any, reach: float | None = None) -> Markup:
    name = f"difference {found.difference:+.4f}, from {found.low:+.4f} to {found.high:+.4f}"
    reach = reach or _reach([found])
    return charts.interval(found.low, found.difference, found.high, reach, found.verdict, name=name)


def _slices(report: RunReport) -> list[dict[str, Any]]:
    """A table a dimension: the largest slices, and the rest behind a click."""
    if report.slices is None:
        return []
    reach = _reach(part.comparison for part in report.slices.slices if part.comparison)

    def row(part: Slice) -> dict[str, Any]:
        return {
            "value": f"{part.value} {SECTIONS[part.value]}" if part.dimension == "section" else part.value,
            "slice": part,
            "change": _interval(part.comparison, reach) if part.comparison else "",
        }

    tables = []
    for dimension, parts in groupby(report.slices.slices, key=lambda part: part.dimension):
        rows = [row(part) for part in parts]
        if len(rows) > _FEW:
            rows.sort(key=lambda shown: -shown["slice"].queries)
        if len(rows) > 1:
            tables.append({"dimension": dimension, "rows": rows[:_FEW], "more": rows[_FEW:]})
    return tables


def _scores(results: Sequence[EvalResult]) -> list[dict[str, Any]]:
    """Histograms of the cosines of right answers and of negatives, on one scale for all encoders."""
    found = {}
    for result in results:
        rows = result.rows("test")
        negatives = pc.list_flatten(rows["negative_similarities"])
        if result.scale == "cosine" and len(rows) and len(negatives):
            positives = rows["positive_similarity"].to_numpy()
            found[result.name] = {"right answers": positives, "negatives": negatives.to_numpy().astype(np.float64)}
    if not found:
        return []
    everything = np.concatenate([values for kinds in found.values() for values in kinds.values()])
    x = Axis.over(everything, "cosine with the query")
    edges = np.linspace(x.low, x.high, _BINS + 1)
    heights = {
        name: {kind: np.histogram(values, edges)[0] / len(values) for kind, values in kinds.items()}
        for name, kinds in found.items()
    }
    y = Axis.over([0, *(h.max() for kinds in heights.values() for h in kinds.values())], "share")
    return [
        {
            "name": name,
            "chart": charts.areas(kinds, edges, x, y, name=f"cosines of right answers and negatives, {name}"),
            "kinds": list(kinds),
            "medians": {kind: float(np.median(values)) for kind, values in found[name].items()},
        }
        for name, kinds in heights.items()
    ]


def _maps(results: Sequence[EvalResult]) -> list[dict[str, Any]]:
    """A map an encoder, turned to match the first; sections in the order of the alphabet."""
    shown = [(result.name, result.map) for result in results if result.map is not None]
    sections = sorted({section for _, found in shown for section in found.sections})
    drawn = []
    for name, found in shown:
        points = found.points if found is shown[0][1] else turned_onto(found.points, shown[0][1].points)
        x, y = (Axis.over(points[:, column], "") for column in (0, 1))
        title = f"{len(points):,} test patents as {name} places them, by section"
        drawn.append(
            {
                "name": name,
                "map": found,
                "chart": charts.scatter(points, found.sections, sections, x, y, name=title),
                "sections": {section: SECTIONS[section] for section in sections},
            }
        )
    return drawn


def _curves(report: RunReport) -> list[dict[str, Any]]:
    """Loss by step (means of neighbouring steps where there are many), and the validation metric by epoch."""
    drawn = []
    if len(report.loss_curve) > 1:
        steps, losses = np.array(report.loss_curve, np.float64).T
        size = -(-len(steps) // _CURVE_POINTS)
        cuts = np.arange(0, len(steps), size)
        count = np.diff(np.append(cuts, len(steps)))
        points = np.add.reduceat(steps, cuts) / count, np.add.reduceat(losses, cuts) / count
        chart = charts.lines(
            {"loss": points},
            Axis.over(points[0], "optimizer step", whole=True),
            Axis.over(points[1], "loss", margin=_MARGIN),
            name="training loss by optimizer step",
        )
        drawn.append({"title": "Loss" + (f", means of {size} steps" if size > 1 else ""), "chart": chart})
    measured = {"val_ndcg@10": "nDCG@10 on val"}
    if len(report.loss_curve) <= 1:
        measured |= {"loss": "Loss"}
    for key, title in measured.items():
        entries = [(entry["epoch"], entry[key]) for entry in report.history if key in entry]
        if entries:
            epochs, values = np.array(entries, np.float64).T
            chart = charts.lines(
                {title: (epochs, values)},
                Axis.over(epochs, "epoch", whole=True),
                Axis.over(values, title, margin=_MARGIN, most=math.inf if key == "loss" else 1.0),
                dots=True,
                name=f"{title} by epoch",
            )
            drawn.append({"title": title, "chart": chart})
    return drawn


def _tables(report: RunReport) -> list[dict[str, Any]]:
    named = {
        "Records": {name: count for name, count in report.data.items() if count},
        "Rejected, by reason": report.rejects,
        "Patents, by split": report.splits,
        "Queries, by source": report.query_sources,
        "Queries, by kind": report.queries.get("kinds", {}),
        "Written answers rejected, by filter": report.queries.get("rejected_answers", {}),
    }
    return [_bars(title, counts) for title, counts in named.items() if counts]


def _negatives(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    missing = {f"{number} missing": anchors for number, anchors in found.get("shortfall", {}).items()}
    named = {
        "Negatives, by rung": found.get("rungs", {}),
        "Candidates refused, by reason": found.get("filtered", {}),
        "Patents with fewer than asked for": missing,
    }
    return [_bars(title, counts) for title, counts in named.items() if counts]


def _bars(title: str, counts: Mapping[str, int]) -> dict[str, Any]:
    labels = {label.replace("_", " "): float(count) for label, count in counts.items()}
    return {"title": title, "chart": charts.bars(labels, name=title)}


def _timings(report: RunReport) -> dict[str, Any] | None:
    if not report.timings:
        return None
    labels = {
        step
        + (f" · {report.throughput[step]}" if step in report.throughput else "")
        + (" · reused" if step in report.reused else ""): seconds
        for step, seconds in report.timings.items()
    }
    return {"title": "Steps", "chart": charts.bars(labels, name="seconds of each step", shown=duration)}
