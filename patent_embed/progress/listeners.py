"""Who listens to a run's events: the terminal and ``progress.jsonl``.

Trackers and Ray's metrics have modules of their own.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from pathlib import Path
from typing import Protocol

from patent_embed.progress.clock import duration
from patent_embed.progress.events import Amount, EpochEnded, Event, PiecesRead, TrainingStarted, TrainingStep, to_json
from patent_embed.progress.terminal import WIDTH, note, say

log = logging.getLogger("patent_embed")


class Listener(Protocol):
    """Is told every event of a run."""

    def on_event(self, event: Event) -> None:
        """Take ``event``, or pass it over. What is raised ends the listening, not the run."""

    def close(self) -> None:
        """No more events come."""


class JsonLines:
    """Appends every event to a file, one JSON object a line, with the time in seconds since 1970.

    Where the disk is full, lines are missing.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``, and make its folder. Raises OSError where that cannot be done."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._lost = False  # an event could not be written

    def on_event(self, event: Event) -> None:
        """Write a line; the first that cannot be written is told."""
        content = {"time": round(time.time(), 3), **to_json(event)}
        try:
            self._file.write(json.dumps(content, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:  # a full disk: what has results to lose says so
            if not self._lost:
                log.warning("%s: events are missing from here: %s", self._file.name, error.strerror)
            self._lost = True

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # what was said above is said
            self._file.close()


class Terminal:
    """Lines within long steps. A finished step's own line, which names its number too, is printed by who runs it.

    Args:
        log_every: steps of a training between two lines; the first and the last step have one always.
        min_seconds: between two lines of reading, writing queries, embedding or searching.
    """

    def __init__(self, log_every: int, min_seconds: float = 10.0) -> None:
        """Print nothing yet."""
        self._log_every = log_every
        self._min_seconds = min_seconds
        self._last_line = time.perf_counter()

    def on_event(self, event: Event) -> None:
        """Print what is to be seen of ``event``."""
        if isinstance(event, Amount):
            self._amount(event)
        elif isinstance(event, PiecesRead):
            self._pieces(event)
        elif isinstance(event, TrainingStep):
            if event.step % self._log_every == 0 or event.step in (1, event.steps):
                say(_step_line(event))
        elif isinstance(event, EpochEnded):
            say(_epoch_line(event))
        elif isinstance(event, TrainingStarted):
            if event.from_epoch:
                note(f"going on after epoch {event.from_epoch}")
            note(
                f"{event.triplets:,} triplets, {event.texts:,} texts, {event.tokens:,} tokens; "
                f"{event.trained_parameters:,} parameters on {event.device}"
            )

    def close(self) -> None:
        """Nothing to do: every line is out."""

    def _pieces(self, event: PiecesRead) -> None:
        if 0 < event.done < event.total and self._due():
            rate = event.records / max(event.seconds, 1e-3)
            left = event.seconds / event.done * (event.total - event.done)
            head = f"{event.done:,}/{event.total:,} pieces  {event.records:,} records"
            say(f"      {head}  {rate:,.0f}/s  ETA {duration(left)}")

    def _amount(self, event: Amount) -> None:
        if 0 < event.done < event.total and self._due():
            rate = event.done / max(event.seconds, 1e-3)
            speed = f"{rate:,.{0 if rate >= 10 else 1}f}/s"
            left = duration((event.total - event.done) / rate)
            say(f"      {event.done:,}/{event.total:,} {event.things}  {speed}  ETA {left}")

    def _due(self) -> bool:
        """Whether the last line of this kind is long enough ago for another one."""
        now = time.perf_counter()
        if now - self._last_line < self._min_seconds:
            return False
        self._last_line = now
        return True


def _step_line(event: TrainingStep) -> str:
    speed, rate = event.triplets_per_s, f"{event.lr:.1e}".replace("e-0", "e-")
    line = (
        f"  epoch {event.epoch}/{event.epochs} step {event.step}/{event.steps} "
        f"loss {event.loss:.4f} lr {rate} {speed:.{0 if speed >= 100 else 1}f} triplets/s "
        f"ETA {duration(event.eta_s)}"
    )
    return line if len(line) <= WIDTH else line.replace(" triplets/s", "/s")


def _epoch_line(event: EpochEnded) -> str:
    parts = [f"epoch {event.epoch} done"]
    if event.loss is not None:
        parts.append(f"loss {event.loss:.4f}")
    if event.val_ndcg is not None:
        parts.append(f"val nDCG@10 {event.val_ndcg:.4f}")
    if event.kept_epoch:
        parts.append(f"keeping epoch {event.kept_epoch}")
    return "      " + "  ".join(parts) if event.epoch else f"      before training  {parts[-1]}"
