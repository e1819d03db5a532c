"""What a sweep leaves behind: a table for the terminal, Parquet, the best settings as YAML, and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.config.load import dump_config
from patent_embed.config.settings import Config
from patent_embed.folders import folder_at, write_atomic
from patent_embed.progress.clock import duration
from patent_embed.sweep.page import write_page
from patent_embed.sweep.space import with_values
from patent_embed.sweep.trials import Sweep, Trial

_WIDTH = 80


def table(sweep: Sweep, total: int, concurrent: int) -> str:
    """The trials so far, best first, and an estimate of the time left; at most 80 columns wide.

    Args:
        sweep: what is known by now.
        total: trials in the end.
        concurrent: trials at once.
    """
    names = [path.rpartition(".")[2] for path in sweep.space]
    rows = [["trial", *names, "epoch", "nDCG@10", "state"]]
    for trial in sweep.ranked:
        values = [_short(trial.values[path]) for path in sweep.space]
        best = f"{trial.best:.4f}" if trial.best is not None else "-"
        state = f"{trial.state}: {trial.error}" if trial.error else trial.state
        rows.append([str(trial.number), *values, f"{trial.epochs}/{sweep.epochs}", best, state])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    ended = [trial.seconds for trial in sweep.trials if trial.ended]
    rest = sum(ended) / max(1, len(ended)) * (total - len(ended)) / concurrent
    left = f", about {duration(rest)} left" if 0 < len(ended) < total else ""
    return "\n".join([*(line[:_WIDTH] for line in lines), f"{len(ended)} of {total} trials ended{left}"])


def write_results(folder: Path, sweep: Sweep, config: Config) -> list[Path]:
    """Write what a sweep leaves behind into ``folder``.

    Returns:
        The files: ``results.parquet`` with a row a trial, and where a trial succeeded ``best.yaml`` for
        ``run.py --config`` and ``sweep.html``.
    """
    results, best, page = folder / "results.parquet", folder / "best.yaml", folder / "sweep.html"
    with folder_at(folder).new_file(results.name) as path:
        pq.write_table(_rows(sweep), path, compression="zstd")
    if sweep.winner is None:
        return [results]
    write_atomic(best, best_yaml(sweep.winner, config).encode())
    write_page(page, sweep, best, refits=config.tune.refit)
    return [results, best, page]


def best_yaml(winner: Trial, config: Config) -> str:
    """The settings of a run with the winner's values, for ``run.py --config``."""
    best = with_values(config, winner.values)
    best.run.resume = None
    head = f"# Trial {winner.number} of a sweep: val nDCG@10 {winner.best:.4f}\n"
    return head + dump_config(best)


def _rows(sweep: Sweep) -> pa.Table:
    columns: dict[str, Any] = {
        "trial": [trial.number for trial in sweep.trials],
        "state": [trial.state for trial in sweep.trials],
        "best_val_ndcg@10": pa.array([trial.best for trial in sweep.trials], pa.float64()),
        "epochs": [trial.epochs for trial in sweep.trials],
        "curve": pa.array([list(trial.curve) for trial in sweep.trials], pa.list_(pa.float64())),
        "seconds": pa.array([trial.seconds for trial in sweep.trials], pa.float64()),
        "error": pa.array([trial.error for trial in sweep.trials], pa.string()),
    }
    for setting in sweep.space:
        values = [trial.values[setting] for trial in sweep.trials]
        plain = all(isinstance(value, int | float | str | bool | None) for value in values)
        columns[setting] = values if plain else [repr(value) for value in values]
    return pa.table(columns)


def _short(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}".replace("e-0", "e-") if 0 < abs(value) < 0.01 else f"{value:.4g}"
