"""Progress events from workers to the driver, and as Ray metrics."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.util import metrics

from pipelines.resources import here

log = logging.getLogger("patent_embed")


@ray.remote(num_cpus=0)
class EventBuffer:
    """Carries progress events from workers on any node to the driver."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []

    def put(self, event: dict[str, Any]) -> None:
        self._events.append(event)

    def drain(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events


@contextlib.contextmanager
def event_stream(handle: Callable[[dict[str, Any]], None], interval: float = 0.5) -> Iterator[Any]:
    """Yield an EventBuffer for workers; ``handle`` is called on the driver with each event, in order."""
    buffer = EventBuffer.options(scheduling_strategy=here()).remote()
    stop = threading.Event()

    def pump() -> None:
        while True:
            last = stop.is_set()
            try:
                for event in ray.get(buffer.drain.remote(), timeout=10):
                    handle(event)
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


# Event of a step at work → the step, and what of the event is counted.
_RATES = {"read": ("ingest", "records"), "generated": ("queries", "done"), "embedded": ("embed", "done")}


class RunMetrics:
    """Progress events as Ray metrics, which every node's agent offers to Prometheus under ``ray_patent_embed_...``."""

    def __init__(self) -> None:
        self._rows = metrics.Counter("patent_embed_rows", "rows that finished steps gave", ("step", "kind"))
        self._rate = metrics.Gauge("patent_embed_rows_per_second", "of the step at work, or as it ended", ("step",))
        self._loss = metrics.Gauge("patent_embed_training_loss", "of the last step")

    def observe(self, event: str, content: dict[str, Any]) -> None:
        if event == "stage" and not content["reused"]:
            step = content["step"].rpartition("-")[0]
            for kind, count in content["rows"].items():
                if count:
                    self._rows.inc(count, {"step": step, "kind": kind})
            if content["seconds"]:
                self._rate.set(max(content["rows"].values(), default=0) / content["seconds"], {"step": step})
        elif event == "step":
            self._rate.set(content["triplets_per_s"], {"step": "train"})
            self._loss.set(content["loss"])
        elif event in _RATES and content["seconds"]:
            step, counted = _RATES[event]
            self._rate.set(content[counted] / content["seconds"], {"step": step})
