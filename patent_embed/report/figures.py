"""The figures of report.html: what its charts and its tables with charts in them show of a report."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow.compute as pc
from markupsafe import Markup
from numpy.typing import NDArray

from patent_embed.evaluation.comparison import Comparison
from patent_embed.evaluation.forgetting import LANGUAGES, Forgetting
from patent_embed.evaluation.measure import EvalResult
from patent_embed.evaluation.patent_map import turned_onto
from patent_embed.evaluation.slices import Slice, SliceReport
from patent_embed.ipc import SECTIONS
from patent_embed.progress.clock import duration
from patent_embed.report import charts
from patent_embed.report.axes import Axis
from patent_embed.report.content import RunReport, shortfall

MARGIN = 0.06
"""Room above and below a curve, a share of its range."""

_BINS = 40
_CURVE_POINTS = 200
_FEW = 12  # slices of a dimension shown without asking

Figure = dict[str, Any]


def comparison_rows(comparisons: Sequence[Comparison]) -> list[Figure]:
    """Each comparison with its interval as a chart, all on one scale."""
    reach = _reach(comparisons)
    return [{"found": found, "change": _interval(found, reach)} for found in comparisons]


def forgetting_rows(forgetting: Sequence[Forgetting]) -> list[Figure]:
    """General sentences, all and by language, with the interval of the change as a chart."""
    return [
        {"found": found, "name": LANGUAGES.get(found.language, "all"), "change": _interval(found, _reach([found]))}
        for found in forgetting
    ]


def slice_tables(found: SliceReport | None) -> list[Figure]:
    """A table a dimension: the largest slices, and the rest behind a click."""
    if found is None:
        return []
    reach = _reach(part.comparison for part in found.slices if part.comparison)

    def row(part: Slice) -> Figure:
        return {
            "value": f"{part.value} {SECTIONS[part.value]}" if part.dimension == "section" else part.value,
            "slice": part,
            "change": _interval(part.comparison, reach) if part.comparison else "",
        }

    tables = []
    for dimension, parts in groupby(found.slices, key=lambda part: part.dimension):
        rows = [row(part) for part in parts]
        if len(rows) > _FEW:
            rows.sort(key=lambda shown: -shown["slice"].queries)
        if len(rows) > 1:
            tables.append({"dimension": dimension, "rows": rows[:_FEW], "more": rows[_FEW:]})
    return tables


def score_panels(results: Sequence[EvalResult]) -> list[Figure]:
    """Histograms of the cosines of right answers and of negatives, on one scale for all encoders."""
    found = {}
    for result in results:
        rows = result.rows("test")
        if "negative_similarities" not in rows.column_names:  # of a benchmark, which has no negatives
            continue
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


def map_panels(results: Sequence[EvalResult]) -> list[Figure]:
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


def curve_figures(report: RunReport) -> list[Figure]:
    """Loss by step (means of neighbouring steps where there are many), and the validation metric by epoch."""
    drawn = []
    if len(report.loss_curve) > 1:
        steps, losses, size = _thinned(report.loss_curve)
        chart = charts.lines(
            {"loss": (steps, losses)},
            Axis.over(steps, "optimizer step", whole=True),
            Axis.over(losses, "loss", margin=MARGIN),
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
                Axis.over(values, title, margin=MARGIN, most=math.inf if key == "loss" else 1.0),
                dots=True,
                name=f"{title} by epoch",
            )
            drawn.append({"title": title, "chart": chart})
    return drawn


def data_figures(report: RunReport) -> list[Figure]:
    """Counts of what went in, and of what became of it."""
    return _bars(
        {
            "Records": {name: count for name, count in report.data.items() if count},
            "Rejected, by reason": report.rejects,
            "Patents, by split": report.splits,
            "Queries, by source": report.query_sources,
            "Queries, by kind": report.queries.get("kinds", {}),
            "Judged queries, by split": report.queries.get("judged_queries", {}),
            "Judgements, by use": report.queries.get("judgements", {}),
            "Queries, by persona, difficulty and view": report.queries.get("styles", {}),
            "Queries, by the rank of their patent by words alone (BM25)": report.queries.get("overlap", {}),
            "Written answers rejected, by filter": report.queries.get("rejected_answers", {}),
            "Triplets of the training, by source": report.training_triplets,
            "Texts of the training": report.training_texts,
        }
    )


def negative_figures(negatives: Mapping[str, Any]) -> list[Figure]:
    """Counts of the negatives, and of those that are missing."""
    return _bars(
        {
            "Negatives, by rung": negatives.get("rungs", {}),
            "Candidates refused, by reason": negatives.get("filtered", {}),
            "Patents with fewer than asked for": shortfall(negatives),
        }
    )


def time_figures(report: RunReport) -> list[Figure]:
    """Seconds of each step with its throughput; nothing without steps."""
    if not report.timings:
        return []
    labels = {
        step
        + (f" · {report.throughput[step]}" if step in report.throughput else "")
        + (" · reused" if step in report.reused else ""): seconds
        for step, seconds in report.timings.items()
    }
    return [{"title": "Steps", "chart": charts.bars(labels, name="seconds of each step", shown=duration)}]


def _bars(named: Mapping[str, Mapping[str, int]]) -> list[Figure]:
    """A bar chart for each title that has counts."""
    return [
        {
            "title": title,
            "chart": charts.bars({label.replace("_", " "): float(n) for label, n in counts.items()}, name=title),
        }
        for title, counts in named.items()
        if counts
    ]


def _thinned(curve: Sequence[tuple[int, float]]) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Steps and losses as means of so many neighbouring steps that few points are left, and how many those are."""
    steps, losses = np.array(curve, np.float64).T
    size = -(-len(steps) // _CURVE_POINTS)
    cuts = np.arange(0, len(steps), size)
    count = np.diff(np.append(cuts, len(steps)))
    return np.add.reduceat(steps, cuts) / count, np.add.reduceat(losses, cuts) / count, size


def _reach(found: Iterable[Comparison | Forgetting]) -> float:
    """Half the width of an interval chart: the farthest end of any."""
    return max((abs(end) for item in found for end in (item.low, item.high)), default=0.0) or 1.0


def _interval(found: Comparison | Forgetting, reach: float) -> Markup:
    name = f"difference {found.difference:+.4f}, from {found.low:+.4f} to {found.high:+.4f}"
    return charts.interval(found.low, found.difference, found.high, reach, found.verdict, name=name)
