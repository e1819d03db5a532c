"""sweep.html: one self-contained page, no script, no network. ``sweep.html.jinja`` is its text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from patent_embed import __version__
from patent_embed.folders import write_atomic
from patent_embed.report import charts
from patent_embed.report.axes import Axis, choice_text
from patent_embed.report.charts import Dot, Line
from patent_embed.report.templates import fill
from patent_embed.sweep.importance import ENOUGH_TRIALS, importance
from patent_embed.sweep.space import Range
from patent_embed.sweep.trials import Sweep, Trial

_FEW = 12  # trials shown without asking
_MARGIN = 0.06  # above and below a curve
_TICKS = 8  # at most, of an axis of scores or of trials
_METRIC = "val nDCG@10"
_GOOD_SHARE = 3  # every which trial counts as a good one where all are drawn together
_KINDS = ("best", "done", "halted", "failed")

Figure = dict[str, Any]


def write_page(path: Path, sweep: Sweep, best: Path, *, refits: bool) -> None:
    """Write the page of a sweep in which a trial succeeded.

    Args:
        path: of the page.
        sweep: its trials.
        best: the file with the best settings, which the page says how to use.
        refits: the sweep trains with them by itself, when all trials have ended.
    """
    winner = sweep.winner
    assert winner is not None
    kinds = {_kind(trial, winner) for trial in _drawn(sweep)}
    shares = importance(sweep)
    found = {
        "sweep": sweep,
        "winner": winner,
        "metric": _METRIC,
        "names": [_name(each) for each in sweep.space],
        "values": {trial.number: [choice_text(trial.values[each]) for each in sweep.space] for trial in sweep.trials},
        "rows": sweep.ranked[:_FEW],
        "more": sweep.ranked[_FEW:],
        "command": f"python pipelines/run.py --config {shlex.quote(str(best))}",
        "refits": refits,
        "kinds": [kind for kind in _KINDS if kind in kinds],
        "settings": setting_figures(sweep),
        "course": [curve_figure(sweep), progress_figure(sweep)],
        "together": together_figures(sweep),
        "importance": importance_figures(shares),
        "no_importance": "" if shares else _no_importance(sweep),
        "version": __version__,
    }
    write_atomic(path, fill("sweep.html.jinja", found, package="patent_embed.sweep").encode())


def setting_figures(sweep: Sweep) -> list[Figure]:
    """A figure a setting: its values across, what the trials reached up; a cross for a trial that failed."""
    y = _score_axis([trial.best for trial in sweep.judged if trial.best is not None])
    drawn = []
    for path, values in sweep.space.items():
        x = setting_axis(path, values)
        dots = [
            Dot(
                _position(values, trial.values[path]),
                None if trial.state == "failed" else trial.best,
                _kind(trial, sweep.winner),
                f"{_title(trial)}, {_name(path)} {choice_text(trial.values[path])}",
            )
            for trial in _drawn(sweep)
        ]
        chart = charts.plot([], dots, x, y, name=f"{_METRIC} by {_name(path)}")
        drawn.append({"title": _name(path), "range": str(values), "chart": chart})
    return drawn


def curve_figure(sweep: Sweep) -> Figure:
    """What each trial reached after each epoch; the best one lies on top."""
    judged = [trial for trial in _drawn(sweep) if trial.judged]
    drawn = [
        Line(np.arange(len(trial.curve)), trial.curve, _kind(trial, sweep.winner), _title(trial)) for trial in judged
    ]
    x = Axis.over([0, max(len(trial.curve) for trial in judged) - 1], "epoch", whole=True)
    y = _score_axis([value for trial in judged for value in trial.curve])
    chart = charts.plot(drawn, [], x, y, name=f"{_METRIC} by epoch")
    return {"title": "After each epoch; 0 is before training", "chart": chart}


def progress_figure(sweep: Sweep) -> Figure:
    """What each trial reached, in the order they began, and the best so far."""
    scores = [trial.best or 0.0 for trial in sweep.judged]
    # A step at each trial, and a level to the last one that began.
    last = max(trial.number for trial in sweep.trials)
    steps = np.repeat([*(trial.number for trial in sweep.judged), last], 2)[1:-1]
    heights = np.repeat(np.maximum.accumulate(scores), 2)
    dots = [
        Dot(trial.number, None if trial.state == "failed" else trial.best, _kind(trial, sweep.winner), _title(trial))
        for trial in _drawn(sweep)
    ]
    x = Axis.over([1, last], "trial", whole=True, count=_TICKS, margin=_MARGIN / 2)
    drawn = [Line(steps, heights, "so-far", "best so far")]
    chart = charts.plot(drawn, dots, x, _score_axis(scores), name=f"{_METRIC} by trial, and the best so far")
    return {"title": "Each trial, and the best so far", "chart": chart}


def together_figures(sweep: Sweep) -> list[Figure]:
    """A line a trial through the values of all its settings to what it reached; nothing where there is one setting."""
    if len(sweep.space) < 2:
        return []
    ranked = [trial for trial in sweep.ranked if trial.judged]
    good = len(ranked) // _GOOD_SHARE
    drawn = [
        (
            [*(_position(values, trial.values[path]) for path, values in sweep.space.items()), trial.best or 0.0],
            "best" if rank == 0 else "good" if rank < good else "other",
            _title(trial),
        )
        for rank, trial in enumerate(ranked)
    ]
    score = Axis.over([trial.best or 0.0 for trial in ranked], _METRIC, count=_TICKS, least=0.0, most=1.0)
    scales = [*(setting_axis(path, values) for path, values in sweep.space.items()), score]
    # The better a trial, the later it is drawn.
    chart = charts.profiles(scales, drawn[::-1], name=f"the settings of each trial, and its {_METRIC}")
    kinds = [kind for kind in ("best", "good", "other") if any(kind == each for _, each, _ in drawn)]
    return [{"kinds": kinds, "chart": chart}]


def importance_figures(shares: dict[str, float]) -> list[Figure]:
    """The share of each setting as a bar; nothing where nothing can be said."""
    if not shares:
        return []
    named = {_name(path): share for path, share in shares.items()}
    chart = charts.bars(named, name="importance of each setting", shown=lambda share: f"{100 * share:.0f} %")
    return [{"title": "Importance (PED-ANOVA)", "chart": chart}]


def setting_axis(path: str, values: Range) -> Axis:
    """The axis of a setting: all that its range holds, in the scale that trials are drawn from."""
    name = _name(path)
    if values.function == "choice":
        return Axis.of(values.arguments, name, length=charts.PLOT)
    low, high = values.arguments[:2]
    whole = values.function.endswith("randint")
    high = high - 1 if whole else high
    if values.function.startswith("log"):
        return Axis.logarithmic(low, high, f"{name}, logarithmic", margin=_MARGIN / 2)
    return Axis.over([low, high], name, whole=whole, count=6, margin=_MARGIN / 2)


def _name(path: str) -> str:
    """What a setting is called on the page: ``lora.r`` of ``training.lora.r``."""
    return path.removeprefix("training.")


def _position(values: Range, value: Any) -> float:
    """Where a value lies on its setting's axis."""
    return float(values.arguments.index(value) if values.function == "choice" else value)


def _score_axis(values: Sequence[float]) -> Axis:
    return Axis.over(values, _METRIC, count=_TICKS, margin=_MARGIN, least=0.0, most=1.0)


def _drawn(sweep: Sweep) -> list[Trial]:
    """The trials that charts show, best last, so that it lies on top: those that were judged, and those that failed."""
    shown = [trial for trial in sweep.ranked if trial.judged or trial.state == "failed"]
    return sorted(shown, key=lambda trial: (trial.state != "failed", trial is sweep.winner, trial.best or 0.0))


def _kind(trial: Trial, winner: Trial | None) -> str:
    """The class of a trial in the page's CSS."""
    if trial is winner:
        return "best"
    return trial.state if trial.state in ("halted", "failed") else "done"


def _title(trial: Trial) -> str:
    reached = trial.error if trial.state == "failed" else f"{trial.best:.4f}"
    return f"trial {trial.number}, {trial.state}: {reached}"


def _no_importance(sweep: Sweep) -> str:
    count = len(sweep.judged)
    if count < ENOUGH_TRIALS:
        have = "one has" if count == 1 else f"{count} have"
        return (
            f"Too few trials to say which setting counts most: it takes {ENOUGH_TRIALS} with a value, and {have} one."
        )
    return "All trials did the same, so no setting can be said to count."
