"""What a sweep keeps of its trials while it runs: lines of JSON, from which alone an interrupted one goes on.

``begun.jsonl`` has a line for each trial that was proposed, ``epochs.jsonl`` for each epoch that was judged, and
``ended.jsonl`` for each trial that will not go on. Nothing in them is code.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from patent_embed.errors import UserError
from patent_embed.sweep.space import Range
from patent_embed.sweep.trials import Trial

_TRIAL = r"^trial-\d{4,}$"  # it is a folder's name, too
_BEGUN, _EPOCHS, _ENDED = "begun.jsonl", "epochs.jsonl", "ended.jsonl"


class _Line(BaseModel):
    model_config = ConfigDict(extra="ignore")

    trial: str = Field(pattern=_TRIAL)
    time: float


class Begun(_Line):
    """A trial was proposed. ``after`` says how many had ended by then: what the search knew."""

    values: dict[str, Any]
    after: int = Field(ge=0)


class Epoch(_Line):
    """An epoch was judged: val nDCG@10 after it, and the best so far."""

    epoch: int = Field(ge=0)
    value: float
    best: float | None


class Ended(_Line):
    """A trial will not go on: ``done``, ``halted`` or ``failed`` for a ``reason``, with the best that it reached."""

    state: str = Field(pattern="^(done|halted|failed)$")
    reason: str
    best: float | None = None
    seconds: float = 0.0


Kind = TypeVar("Kind", bound=_Line)


@dataclass(frozen=True)
class Journal:
    """The files of a sweep in ``folder``, whose trials vary ``space`` and have ``epochs`` each."""

    folder: Path
    space: Mapping[str, Range]
    epochs: int

    @property
    def exists(self) -> bool:
        """Whether a trial was proposed."""
        return (self.folder / _BEGUN).is_file()

    @property
    def next_name(self) -> str:
        """What the next trial is called."""
        return f"trial-{1 + len(self.begun()):04d}"

    def begin(self, trial: str, values: Mapping[str, Any]) -> None:
        """Keep a proposal."""
        self._append(_BEGUN, trial, {"values": dict(values), "after": len(self.ended())})

    def reach(self, trial: str, epoch: int, value: float, best: float | None) -> None:
        """Keep what a trial reached in an epoch."""
        self._append(_EPOCHS, trial, {"epoch": epoch, "value": value, "best": best})

    def end(self, trial: str, state: str, reason: str = "", best: float | None = None, seconds: float = 0.0) -> None:
        """Keep how a trial ended."""
        finite = best if best is not None and math.isfinite(best) else None
        self._append(_ENDED, trial, {"state": state, "reason": reason, "best": finite, "seconds": seconds})

    def begun(self) -> list[Begun]:
        """The proposals, in their order. Raises UserError where the file is damaged or of another space."""
        found = self._lines(_BEGUN, Begun)
        for number, line in enumerate(found, start=1):
            if line.trial != f"trial-{number:04d}" or line.values.keys() != self.space.keys():
                raise self._damaged(_BEGUN, number)
            try:
                line.values = {path: _own(self.space[path], value) for path, value in line.values.items()}
            except ValueError:
                raise self._damaged(_BEGUN, number) from None
        return found

    def reached(self) -> list[Epoch]:
        """The epochs of all trials, in the order they ended. Raises UserError where the file is damaged."""
        return self._lines(_EPOCHS, Epoch)

    def ended(self) -> list[Ended]:
        """The trials that will not go on, in the order they ended. Raises UserError where the file is damaged."""
        return list({line.trial: line for line in self._lines(_ENDED, Ended)}.values())

    def trials(self) -> list[Trial]:
        """The trials so far, in the order they began."""
        curves: dict[str, dict[int, float]] = {}
        for line in self.reached():
            curves.setdefault(line.trial, {})[line.epoch] = line.value
        ended = {line.trial: line for line in self.ended()}
        found = []
        for number, begun in enumerate(self.begun(), start=1):
            points = [value for _, value in sorted(curves.get(begun.trial, {}).items())]
            end = ended.get(begun.trial)
            state = end.state if end else "running" if points else "waiting"
            reason, seconds = (end.reason, end.seconds) if end else ("", 0.0)
            found.append(Trial(number, begun.values, state, points, reason, seconds))
        return found

    def repeated_failure(self, times: int) -> str:
        """The reason of the last ``times`` ends, if they were failures and all for the same; empty otherwise."""
        last = self.ended()[-times:]
        reasons = {line.reason for line in last}
        return reasons.pop() if len(last) == times and len(reasons) == 1 else ""

    def mend(self) -> None:
        """Cut off lines that a kill left unfinished, so that the next ones are lines of their own."""
        for name in (_BEGUN, _EPOCHS, _ENDED):
            path = self.folder / name
            if path.is_file() and not (content := path.read_bytes()).endswith(b"\n"):
                with path.open("r+b") as file:
                    file.truncate(content.rfind(b"\n") + 1)

    def _append(self, name: str, trial: str, entry: Mapping[str, Any]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"trial": trial, **entry, "time": time.time()}, ensure_ascii=False) + "\n")

    def _lines(self, name: str, kind: type[Kind]) -> list[Kind]:
        path = self.folder / name
        if not path.exists():
            return []
        found = []
        whole = path.read_bytes().split(b"\n")[:-1]  # what follows the last line break was torn by a kill
        for number, line in enumerate(whole, start=1):
            try:
                found.append(kind.model_validate_json(line))
            except ValidationError:
                raise self._damaged(name, number) from None
        return found

    def _damaged(self, name: str, number: int) -> UserError:
        return UserError(
            f"line {number} of {str(self.folder / name)!r} is not what this sweep wrote, so it cannot be gone on with; "
            "leave out --resume to start anew, or choose another --output_dir"
        )


def _own(values: Range, value: Any) -> Any:
    """The value of a range that JSON brings back as ``value``. Raises ValueError where it is none of the range."""
    if values.function == "choice":
        for choice in values.arguments:
            if json.loads(json.dumps(choice)) == value and isinstance(choice, bool) == isinstance(value, bool):
                return choice
        raise ValueError(value)
    low, high = values.arguments[:2]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(value)
    return value
