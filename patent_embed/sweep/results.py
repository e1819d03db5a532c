"""What a sweep found: a table for the terminal, Parquet, the best settings as YAML, and a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.config.load import dump_config
from patent_embed.config.settings import Config
from patent_embed.folders import write_atomic
from patent_embed.progress.clock import duration
from patent_embed.sweep.space import Range, with_values

_WIDTH = 80


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        values: by the path of the setting.
        state: ``waiting``, ``running``, ``done``, ``halted`` (its rank was too low to go on) or ``failed``.
        curve: val nDCG@10 after each epoch, from the one before training on.
        best: the largest of the curve after training began; None before that.
        error: why it failed.
        seconds: that its training took.
    """

    number: int
    values: Mapping[str, Any]
    state: str
    curve: Sequence[float] = ()
    error: str = ""
    seconds: float = 0.0

    @property
    def best(self) -> float | None:
        return max(self.curve[1:], default=None)

    @property
    def ended(self) -> bool:
        return self.state in ("done", "halted", "failed")


@dataclass(frozen=True)
class Sweep:
    """All trials of a sweep, in the order they began, and what they varied."""

    space: Mapping[str, Range]
    epochs: int
    trials: Sequence[Trial] = field(default_factory=tuple)

    @property
    def winner(self) -> Trial | None:
        """The trial with the best epoch; the earliest of several."""
        judged = [trial for trial in self.trials if trial.best is not None and trial.state != "failed"]
        return max(judged, key=lambda trial: (trial.best, -trial.number)) if judged else None


def table(sweep: Sweep, total: int, concurrent: int) -> str:
    """The trials so far, best first, and an estimate of the time left; at most 80 columns where names allow it.

    Args:
        total: trials in the end.
        concurrent: trials at once.
    """
    names = [path.rpartition(".")[2] for path in sweep.space]
    rows = [["trial", *names, "epoch", "nDCG@10", "state"]]
    order = sorted(sweep.trials, key=lambda trial: (trial.best is None, -(trial.best or 0), trial.number))
    for trial in order:
        values = [_short(trial.values[path]) for path in sweep.space]
        epoch = f"{max(0, len(trial.curve) - 1)}/{sweep.epochs}"
        best = f"{trial.best:.4f}" if trial.best is not None else "-"
        state = f"{trial.state}: {trial.error}" if trial.error else trial.state
        rows.append([str(trial.number), *values, epoch, best, state])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    ended = [trial.seconds for trial in sweep.trials if trial.ended]
    rest = sum(ended) / max(1, len(ended)) * (total - len(ended)) / concurrent
    left = f", about {duration(rest)} left" if 0 < len(ended) < total else ""
    return "\n".join([*(line[:_WIDTH] for line in lines), f"{len(ended)} of {total} trials ended{left}"])


def write_results(folder: Path, sweep: Sweep, config: Config) -> list[Path]:
    """Write ``results.parquet`` (a row a trial), and where a trial succeeded ``best.yaml`` and ``sweep.png``."""
    path = folder / "results.parquet"
    columns: dict[str, Any] = {
        "trial": [trial.number for trial in sweep.trials],
        "state": [trial.state for trial in sweep.trials],
        "best_val_ndcg@10": pa.array([trial.best for trial in sweep.trials], pa.float64()),
        "epochs": [max(0, len(trial.curve) - 1) for trial in sweep.trials],
        "curve": pa.array([list(trial.curve) for trial in sweep.trials], pa.list_(pa.float64())),
        "seconds": pa.array([trial.seconds for trial in sweep.trials], pa.float64()),
        "error": pa.array([trial.error for trial in sweep.trials], pa.string()),
    }
    for setting in sweep.space:
        values = [trial.values[setting] for trial in sweep.trials]
        plain = all(isinstance(value, int | float | str | bool | None) for value in values)
        columns[setting] = values if plain else [repr(value) for value in values]
    pq.write_table(pa.table(columns), path, compression="zstd")
    if sweep.winner is None:
        return [path]
    write_atomic(folder / "best.yaml", best_yaml(sweep.winner, config).encode())
    draw(folder / "sweep.png", sweep)
    return [path, folder / "best.yaml", folder / "sweep.png"]


def best_yaml(winner: Trial, config: Config) -> str:
    """The settings of a run with the winner's values, for ``run.py --config``."""
    best = with_values(config, winner.values)
    best.run.resume = None
    head = f"# Trial {winner.number} of a sweep: val nDCG@10 {winner.best:.4f}\n"
    return head + dump_config(best)


def importance(sweep: Sweep) -> dict[str, float]:
    """Share of each setting in what sets good trials apart (Watanabe et al., PED-ANOVA, arXiv 2304.10255), by optuna.
    Empty with fewer than four judged trials, or where all did the same."""
    import optuna

    judged = [trial for trial in sweep.trials if trial.best is not None and trial.state != "failed"]
    if len(judged) < 4 or len({trial.best for trial in judged}) < 2:
        return {}
    space = {path: _distribution(values) for path, values in sweep.space.items()}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [optuna.trial.create_trial(params=dict(t.values), distributions=space, value=t.best) for t in judged]
    )
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {path: float(value) for path, value in found.items() if math.isfinite(value)}


def draw(path: Path, sweep: Sweep) -> None:
    """Four pictures in one file: the first two settings against one another, parallel coordinates, the best value so
    far, importances."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    judged = [trial for trial in sweep.trials if trial.best is not None and trial.state != "failed"]
    figure = Figure(figsize=(12, 9), layout="constrained")
    FigureCanvasAgg(figure)
    (plane, parallel), (progress, shares) = figure.subplots(2, 2)
    scores = [trial.best or 0.0 for trial in judged]
    low, high = min(scores), max(scores)
    shade = figure.colorbar(_map(low, high), ax=[plane, parallel], label="best val nDCG@10", shrink=0.8)
    names = list(sweep.space)

    points = [[_place(sweep.space[name], trial.values[name]) for trial in judged] for name in names]
    second = points[1] if len(names) > 1 else scores
    plane.scatter(points[0], second, c=scores, cmap="viridis", vmin=low, vmax=high, s=60, edgecolors="0.3")
    for axis, name in (("x", names[0]), ("y", names[1] if len(names) > 1 else None)):
        _label(plane, axis, name, sweep.space)
    plane.set_title("where the trials were")

    for trial, score in zip(judged, scores, strict=True):
        heights = [_share(sweep.space[name], trial.values[name]) for name in names]
        colour = shade.cmap(shade.norm(score))
        parallel.plot(range(len(names) + 1), [*heights, (score - low) / (high - low or 1)], color=colour, alpha=0.8)
    parallel.set_xticks(range(len(names) + 1), [*(name.rpartition(".")[2] for name in names), "nDCG@10"])
    parallel.set_yticks([0, 1], ["low", "high"])
    parallel.set_title("each trial's settings, from low to high")

    numbers = [trial.number for trial in judged]
    progress.plot(numbers, scores, "o", color="0.6", label="a trial")
    progress.step(numbers, [max(scores[: i + 1]) for i in range(len(scores))], where="post", label="best so far")
    progress.set_xlabel("trial")
    progress.set_ylabel("best val nDCG@10")
    progress.legend()
    progress.set_title("best so far")

    found = importance(sweep)
    shares.barh([name.rpartition(".")[2] for name in found], list(found.values()))
    shares.set_xlim(0, 1)
    shares.set_title("importance (PED-ANOVA)" if found else "importance: too few trials")
    figure.savefig(path, dpi=110)


def _map(low: float, high: float) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(low, high), "viridis")


def _label(plane: Any, axis: str, name: str | None, space: Mapping[str, Range]) -> None:
    if name is None:
        plane.set_ylabel("best val nDCG@10")
        return
    getattr(plane, f"set_{axis}label")(name.rpartition(".")[2])
    if space[name].function.startswith("log"):
        getattr(plane, f"set_{axis}scale")("log")
    if space[name].function == "choice":
        choices = space[name].arguments
        getattr(plane, f"set_{axis}ticks")(range(len(choices)), [str(choice) for choice in choices])


def _place(values: Range, value: Any) -> float:
    return float(values.arguments.index(value)) if values.function == "choice" else float(value)


def _share(values: Range, value: Any) -> float:
    """Where ``value`` lies in its range, 0 to 1."""
    if values.function == "choice":
        return values.arguments.index(value) / (len(values.arguments) - 1)
    low, high = (float(end) for end in values.arguments[:2])
    if values.function.startswith("log"):
        return (math.log(value) - math.log(low)) / (math.log(high) - math.log(low))
    return (float(value) - low) / (high - low)


def _distribution(values: Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if values.function == "choice":
        return CategoricalDistribution(values.arguments)
    low, high, *step = values.arguments
    log = values.function.startswith("log")
    if values.function.endswith("randint"):
        return IntDistribution(low, high - 1, log=log)
    return FloatDistribution(low, high, log=log, step=step[0] if step else None)


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}".replace("e-0", "e-") if 0 < abs(value) < 0.01 else f"{value:.4g}"
