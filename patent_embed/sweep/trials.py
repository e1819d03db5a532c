"""The trials of a sweep, and which of them is the best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from patent_embed.sweep.space import Range


@dataclass(frozen=True)
class Trial:
    """One training of a sweep.

    Attributes:
        number: from 1, in the order they began.
        values: by the path of the setting.
        state: ``waiting``, ``running``, ``done``, ``halted`` (its rank was too low to go on) or ``failed``.
        curve: val nDCG@10 after each epoch, from the one before training on.
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
        """The largest of the curve after training began; None before that."""
        return max(self.curve[1:], default=None)

    @property
    def best_epoch(self) -> int | None:
        """The first epoch that reached it."""
        return None if self.best is None else 1 + list(self.curve[1:]).index(self.best)

    @property
    def epochs(self) -> int:
        """Epochs that were trained and judged."""
        return max(0, len(self.curve) - 1)

    @property
    def judged(self) -> bool:
        """Whether it can be compared with others: it has an epoch after training began, and has not failed."""
        return self.best is not None and self.state != "failed"

    @property
    def ended(self) -> bool:
        """Whether it will not go on."""
        return self.state in ("done", "halted", "failed")


@dataclass(frozen=True)
class Sweep:
    """All trials of a sweep, in the order they began, and what they varied.

    Attributes:
        space: the range of each setting, by its path.
        epochs: of a trial that is not stopped.
        trials: in the order they began.
    """

    space: Mapping[str, Range]
    epochs: int
    trials: Sequence[Trial] = field(default_factory=tuple)

    @property
    def judged(self) -> list[Trial]:
        """The trials that can be compared, in the order they began."""
        return [trial for trial in self.trials if trial.judged]

    @property
    def winner(self) -> Trial | None:
        """The trial with the best epoch; the earliest of several."""
        return max(self.judged, key=lambda trial: (trial.best, -trial.number), default=None)

    @property
    def ranked(self) -> list[Trial]:
        """All trials, best first; those without a value last."""
        return sorted(self.trials, key=lambda trial: (trial.best is None, -(trial.best or 0), trial.number))
