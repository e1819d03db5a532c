"""Sweeps for the tests of what they leave behind."""

from __future__ import annotations

import numpy as np

from patent_embed.sweep.space import Range
from patent_embed.sweep.trials import Sweep, Trial


def sweep() -> Sweep:
    """Six trials of two settings; the later, the better, but for the last, which fails."""
    varied = {
        "training.learning_rate": Range("loguniform", (1e-5, 1e-3)),
        "training.margin": Range("uniform", (0.05, 0.5)),
    }
    rates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 5e-4]
    trials = [
        Trial(
            number,
            {"training.learning_rate": rate, "training.margin": 0.1 * number / 2},
            "done" if number % 2 else "halted",
            [0.5, 0.5 + number / 100, 0.5 + number / 50],
            seconds=10.0,
        )
        for number, rate in enumerate(rates[:5], start=1)
    ]
    failed = Trial(
        6, {"training.learning_rate": 5e-4, "training.margin": 0.5}, "failed", [0.5, 0.99], "the loss became nan"
    )
    return Sweep(varied, 2, [*trials, failed])


def wide_sweep(count: int = 30, error: str = "文件 corpus.parquet 不存在") -> Sweep:
    """Settings of every kind of range, names that have no room, and trials of every state."""
    rng = np.random.default_rng(0)
    varied = {
        "training.learning_rate": Range("loguniform", (1e-5, 1e-3)),
        "training.temperature": Range("loguniform", (0.031, 0.039)),
        "training.weight_decay": Range("loguniform", (1e-9, 0.1)),
        "training.margin": Range("uniform", (0.05, 0.5)),
        "training.warmup_ratio": Range("quniform", (0, 0.3, 0.1)),
        "training.lora.r": Range("lograndint", (4, 65)),
        "training.epochs": Range("randint", (1, 13)),
        "training.loss": Range("choice", ("triplet", "infonce")),
        "training.distance": Range("choice", tuple(f"一个很长的名字 {number}" for number in range(12))),
    }
    trials = []
    for number in range(1, count + 1):
        values = {
            "training.learning_rate": float(10 ** rng.uniform(-5, -3)),
            "training.temperature": float(rng.uniform(0.031, 0.039)),
            "training.weight_decay": float(10 ** rng.uniform(-9, -1)),
            "training.margin": float(rng.uniform(0.05, 0.5)),
            "training.warmup_ratio": 0.1 * int(rng.integers(3)),
            "training.lora.r": int(rng.integers(4, 65)),
            "training.epochs": int(rng.integers(1, 13)),
            "training.loss": ("triplet", "infonce")[int(rng.integers(2))],
            "training.distance": f"一个很长的名字 {int(rng.integers(12))}",
        }
        state = ("done", "halted", "halted", "failed", "halted")[number % 5]
        length = {"done": 12, "halted": 1 + int(rng.integers(11)), "failed": 0}[state]
        curve = [0.6, *(0.6 + 0.2 * (1 - np.exp(-epoch / 3)) + rng.normal() / 100 for epoch in range(1, length + 1))]
        said = error if state == "failed" else ""
        trials.append(Trial(number, values, state, [float(value) for value in curve], said, 100.0 * length))
    waiting = Trial(count + 1, trials[0].values, "waiting")
    return Sweep(varied, 12, [*trials, waiting])
