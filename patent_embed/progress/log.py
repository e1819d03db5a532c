"""What a run shows on the terminal: one line a step, and lines within long steps. No carriage returns, so a log of a
batch job reads the same."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from patent_embed.progress.clock import duration
from patent_embed.progress.terminal import WIDTH, note, say

log = logging.getLogger("patent_embed")
_SILENCE = 30.0  # seconds, after which a step says that it is still at work


def loss_curve(path: Path, folder: str) -> list[tuple[int, float]]:
    """Step and loss of the training that made the step folder ``folder``, as the events in ``path`` tell; empty where
    they are gone. Of an interrupted training the epochs count that the next one went on from."""
    steps: dict[int, tuple[int, float]] = {}  # step → epoch, loss
    found: list[tuple[int, float]] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            event = json.loads(line)
        except ValueError:  # torn by a kill
            continue
        if event["event"] == "start":
            steps = {step: value for step, value in steps.items() if value[0] <= event["from_epoch"]}
        elif event["event"] == "step":
            steps[event["step"]] = event["epoch"], event["loss"]
        elif event["event"] == "stage" and event["step"] == folder and not event["reused"]:
            found = [(step, loss) for step, (_, loss) in sorted(steps.items())]
    return found


class ProgressLog:
    """Prints progress and keeps it as JSON lines in ``path``, one object an event. ``observe`` is told each, too."""

    def __init__(
        self,
        path: Path,
        log_every: int,
        min_seconds: float = 10.0,
        observe: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", encoding="utf-8")
        self._lost = False  # an event could not be written
        self._log_every = log_every
        self._observe = observe
        self._min_seconds = min_seconds
        self._last_bar = time.perf_counter()
        self._last_event = self._last_bar

    @contextlib.contextmanager
    def at_work(self, step: str, silence: float = _SILENCE) -> Iterator[None]:
        """While a step runs: say that it does after ``silence`` seconds without an event, then after twice that, and
        so on, so that a long job is not taken for a dead one."""
        started, stop = time.perf_counter(), threading.Event()

        def watch() -> None:
            pause = silence
            while not stop.wait(max(0.0, self._last_event + pause - time.perf_counter())):
                now = time.perf_counter()
                if now - self._last_event >= pause:
                    say(f"      {step}: at work for {duration(now - started)}")
                    pause *= 2
                    self._last_event = now

        self._last_event = started
        thread = threading.Thread(target=watch, name="at-work", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what was said above is said
            self._file.close()

    def record(self, event: str, **content: Any) -> None:
        self._last_event = time.perf_counter()
        content = {"time": round(time.time(), 3), "event": event, **content}
        try:
            self._file.write(json.dumps(content, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:  # a full disk: what has results to lose says so
            if not self._lost:
                log.warning("%s: events are missing from here: %s", self._file.name, error.strerror)
            self._lost = True
        if self._observe is not None:
            self._observe(event, content)

    def training_event(self, event: dict[str, Any]) -> None:
        """An event of the training loop: recorded, and shown as a line."""
        kind = event.pop("event")
        event.pop("time", None)
        self.record(kind, **event)
        if kind == "start":
            if event["from_epoch"]:
                note(f"going on after epoch {event['from_epoch']}")
            note(
                f"{event['triplets']:,} triplets, {event['texts']:,} texts, {event['tokens']:,} tokens; "
                f"{event['trained_parameters']:,} parameters on {event['device']}"
            )
        elif kind == "step" and (event["step"] % self._log_every == 0 or event["step"] in (1, event["steps"])):
            speed, rate = event["triplets_per_s"], f"{event['lr']:.1e}".replace("e-0", "e-")
            line = (
                f"  epoch {event['epoch']}/{event['epochs']} step {event['step']}/{event['steps']} "
                f"loss {event['loss']:.4f} lr {rate} {speed:.{0 if speed >= 100 else 1}f} triplets/s "
                f"ETA {duration(event['eta_s'])}"
            )
            say(line if len(line) <= WIDTH else line.replace(" triplets/s", "/s"))
        elif kind == "epoch":
            parts = [f"epoch {event['epoch']} done"]
            if "loss" in event:
                parts.append(f"loss {event['loss']:.4f}")
            if "val_ndcg@10" in event:
                parts.append(f"val nDCG@10 {event['val_ndcg@10']:.4f}")
            if event.get("kept_epoch"):
                parts.append(f"keeping epoch {event['kept_epoch']}")
            say("      " + "  ".join(parts) if event["epoch"] else f"      before training  {parts[-1]}")

    def records(self, done: int, total: int, records: int, seconds: float) -> None:
        """Progress of reading: pieces of the input, and the records in them."""
        self.record("read", done=done, total=total, records=records, seconds=round(seconds, 3))
        if done < total and self._due():
            rate, left = records / max(seconds, 1e-3), seconds / done * (total - done)
            say(f"      {done:,}/{total:,} pieces  {records:,} records  {rate:,.0f}/s  ETA {duration(left)}")

    def shards(self, done: int, total: int, seconds: float) -> None:
        """Progress of a search that is cut into shards of the corpus."""
        self._amount("searched", "shards", done, total, seconds)

    def texts(self, done: int, total: int, seconds: float) -> None:
        """Progress of an embedding step, shown every few seconds."""
        self._amount("embedded", "texts", done, total, seconds)

    def queries(self, done: int, total: int, seconds: float) -> None:
        """The same of a query step."""
        self._amount("generated", "queries", done, total, seconds)

    def _amount(self, event: str, things: str, done: int, total: int, seconds: float) -> None:
        self.record(event, done=done, total=total, seconds=round(seconds, 3))
        if done < total and self._due():
            rate = done / max(seconds, 1e-3)
            speed = f"{rate:,.{0 if rate >= 10 else 1}f}/s"
            say(f"      {done:,}/{total:,} {things}  {speed}  ETA {duration((total - done) / rate)}")

    def _due(self) -> bool:
        """Whether the last line of this kind is long enough ago for another one."""
        now = time.perf_counter()
        if now - self._last_bar < self._min_seconds:
            return False
        self._last_bar = now
        return True
