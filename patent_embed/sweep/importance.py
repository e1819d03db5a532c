"""How much each setting of a sweep counts."""

from __future__ import annotations

import math
from typing import Any

from patent_embed.sweep.space import Range
from patent_embed.sweep.trials import Sweep

ENOUGH_TRIALS = 4
"""Trials with a value that it takes."""


def importance(sweep: Sweep) -> dict[str, float]:
    """Share of each setting in what sets good trials apart, largest first.

    PED-ANOVA (Watanabe et al., arXiv 2304.10255), by optuna. Empty with fewer than ``ENOUGH_TRIALS`` judged trials, or
    where all did the same.
    """
    import optuna

    judged = sweep.judged
    if len(judged) < ENOUGH_TRIALS or len({trial.best for trial in judged}) < 2:
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


def _distribution(values: Range) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if values.function == "choice":
        return CategoricalDistribution(values.arguments)
    low, high, *step = values.arguments
    log = values.function.startswith("log")
    if values.function.endswith("randint"):
        return IntDistribution(low, high - 1, log=log)
    return FloatDistribution(low, high, log=log, step=step[0] if step else None)
