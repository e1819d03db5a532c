"""Who proposes the settings of a sweep's trials: Optuna's TPE, and after an interruption the journal before it.

Ray Tune keeps a searcher as pickle, which runs whatever it holds when it is read back. Here nothing of that is read:
the trials of the journal are proposed to a fresh Optuna study once more, which ends where the first one stood.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from patent_embed.sweep.journal import Begun, Ended, Journal
from patent_embed.sweep.space import Range

TRIAL = "trial"  # what a trial's name is called among its settings


class Proposals(Searcher):
    """Proposes first the trials that had begun and not ended, then Optuna's.

    Args:
        journal: of the sweep; each new proposal is kept there.
        metric: what a trial reports, the larger the better.
        seed: of Optuna.
    """

    def __init__(self, journal: Journal, metric: str, seed: int) -> None:
        super().__init__(metric=metric, mode="max")
        self._journal, self._names = journal, dict[str, str]()
        begun, ended = journal.begun(), journal.ended()
        self._search = _study(journal.space, metric, seed)
        if not self._replay(begun, ended):
            # Another version of Optuna draws others: it is told the trials as they were, and goes on by another seed.
            self._search = _study(journal.space, metric, seed + len(begun), [line.values for line in begun])
            self._replay(begun, ended)
        over = {line.trial for line in ended}
        self._open = [line for line in begun if line.trial not in over]

    def _replay(self, begun: list[Begun], ended: list[Ended]) -> bool:
        """Propose and end the trials of before in their order; False where other values are proposed."""
        told = 0
        for line in begun:
            for end in ended[told : line.after]:
                self._tell(end)
            told = max(told, line.after)
            if self._search.suggest(line.trial) != line.values:
                return False
        for end in ended[told:]:
            self._tell(end)
        return True

    def _tell(self, end: Ended) -> None:
        failed = end.state == "failed"
        result = None if failed or end.best is None else {self.metric: end.best}
        self._search.on_trial_complete(end.trial, result, error=failed)

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The settings of the next trial by their paths, and its name."""
        if self._open:
            line = self._open.pop(0)
            self._names[trial_id] = line.trial
            return line.values | {TRIAL: line.trial}
        name = self._journal.next_name
        values: dict[str, Any] = self._search.suggest(name) or {}
        self._journal.begin(name, values)
        self._names[trial_id] = name
        return values | {TRIAL: name}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna what a trial reached."""
        self._search.on_trial_complete(self._names.pop(trial_id), None if error else result, error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Never done."""
        raise NotImplementedError("a sweep goes on from its journal")


def _study(
    space: Mapping[str, Range], metric: str, seed: int, points: list[dict[str, Any]] | None = None
) -> OptunaSearch:
    domains = {path: _domain(values) for path, values in space.items()}
    return OptunaSearch(
        OptunaSearch.convert_search_space(domains),
        metric=metric,
        mode="max",
        seed=seed % 2**32,
        points_to_evaluate=points,
    )


def _domain(values: Range) -> Any:
    function = {"choice": lambda *choices: tune.choice(list(choices))}.get(values.function)
    return (function or getattr(tune, values.function))(*values.arguments)
