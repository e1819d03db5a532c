"""Progress events from workers to the driver, and as Ray metrics."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util import metrics

from patent_embed.progress.events import Event, StepFinished, TrainingStep
from pipelines.resources import here

log = logging.getLogger("patent_embed")


class EventBuffer:
    """An actor that carries progress events from workers on any node to the driver."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._events: list[Event] = []

    def put(self, event: Event) -> None:
        """Keep ``event`` until the driver asks."""
        self._events.append(event)

    def drain(self) -> list[Event]:
        """What came since the last call, in order."""
        events, self._events = self._events, []
        return events


@contextlib.contextmanager
def event_stream(emit: Callable[[Event], None], interval: float = 0.5) -> Iterator[Any]:
    """Yield an EventBuffer actor whose ``put`` workers call.

    Args:
        emit: called on the driver with each event, in order, at the latest before the block is left.
        interval: seconds between two looks into the buffer.
    """
    buffer: Any = ray.remote(num_cpus=0)(EventBuffer).options(scheduling_strategy=here()).remote()
    stop = threading.Event()

    def pump() -> None:
        while True:
            last = stop.is_set()
            try:
                for event in ray.get(buffer.drain.remote(), timeout=10):
                    emit(event)
            except ray.exceptions.RayError as error:  # the view must not end the run; the events are in the result too
                log.debug("progress events are not available: %s", error)
            if last:
                return
            stop.wait(interval)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield buffer
    finally:
        stop.set()
        thread.join(timeout=15)
        ray.kill(buffer)


class RayMetrics:
    """Progress events as Ray metrics, which every node's agent offers to Prometheus under ``ray_patent_embed_...``."""

    def __init__(self) -> None:
        """Register the metrics; to be done in a Ray session."""
        self._rows = metrics.Counter("patent_embed_rows", "rows that finished steps gave", ("step", "kind"))
        self._rate = metrics.Gauge("patent_embed_rows_per_second", "of the step at work, or as it ended", ("step",))
        self._loss = metrics.Gauge("patent_embed_training_loss", "of the last step")

    def on_event(self, event: Event) -> None:
        """Count the rows of a new result; show the rate and the loss that the event tells."""
        if isinstance(event, StepFinished) and not event.reused:
            for kind, count in event.rows.items():
                if count:
                    self._rows.inc(count, {"step": event.name, "kind": kind})
        elif isinstance(event, TrainingStep):
            self._loss.set(event.loss)
        if (rate := event.rate()) is not None:
            self._rate.set(rate.per_second, {"step": rate.step})

    def close(self) -> None:
        """Nothing to do: the agent has what was set."""
