"""Events on their way from workers to the driver, and as Ray's metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from patent_embed.progress.events import (
    EpochEnded,
    Event,
    PiecesRead,
    ShardsSearched,
    StepFinished,
    TextsEmbedded,
    TrainingStep,
)
from pipelines import events


class Metric:
    """Stands for a counter or a gauge: keeps every value with its tags."""

    made: dict[str, Metric]

    def __init__(self, name: str, description: str, tag_keys: tuple[str, ...] = ()) -> None:
        self.values: list[tuple[float, dict[str, str]]] = []
        self._keys = set(tag_keys)
        self.made[name] = self

    def inc(self, value: float, tags: dict[str, str] | None = None) -> None:
        assert value > 0  # Ray takes no other
        assert set(tags or {}) == self._keys
        self.values.append((value, tags or {}))

    set = inc


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> dict[str, Metric]:
    Metric.made = {}
    monkeypatch.setattr(events, "metrics", SimpleNamespace(Counter=Metric, Gauge=Metric))
    return Metric.made


def test_metrics_count_rows_and_show_rates_and_the_loss(metrics: dict[str, Metric]) -> None:
    listener = events.RayMetrics()
    listener.on_event(StepFinished("splits-0123abcd", True, {"train": 8}, 4.0))  # reused: nothing was made
    listener.on_event(PiecesRead(3, 9, 600, 2.0))
    listener.on_event(StepFinished("embed-base-0123abcd", False, {"passages": 8, "queries": 6, "none": 0}, 4.0))
    listener.on_event(TextsEmbedded(3, 9, 2.0))
    listener.on_event(ShardsSearched(3, 9, 2.0))
    listener.on_event(TrainingStep(1, 2, 3, 4, lr=1e-3, loss=0.5, triplets_per_s=120.5, eta_s=9.0))
    listener.on_event(EpochEnded(1, loss=0.4, train_seconds=1.0, kept_epoch=1, stopped=False))
    listener.close()
    values = {name: metric.values for name, metric in metrics.items()}
    assert values == {
        "patent_embed_rows": [
            (8, {"step": "embed-base", "kind": "passages"}),
            (6, {"step": "embed-base", "kind": "queries"}),
        ],
        "patent_embed_rows_per_second": [
            (300.0, {"step": "ingest"}),
            (2.0, {"step": "embed-base"}),
            (1.5, {"step": "embed"}),
            (120.5, {"step": "train"}),
        ],
        "patent_embed_training_loss": [(0.5, {})],
    }


class Buffer:
    """An EventBuffer in this process. Calls of its methods are made when their results are asked for, as ``ray.get``
    would; ``lost`` says how many of those fail first."""

    def __init__(self, lost: int = 0) -> None:
        self.events: list[Event] = []
        self.asked = threading.Event()
        self.drain = SimpleNamespace(remote=lambda: self._drain)
        self._lost = lost

    def options(self, **_: Any) -> Any:
        return SimpleNamespace(remote=lambda: self)

    def _drain(self) -> list[Event]:
        if self._lost:
            self._lost -= 1
            raise ray.exceptions.RayActorError
        found, self.events = self.events, []
        self.asked.set()
        return found


def in_this_process(patch: pytest.MonkeyPatch, buffer: Buffer) -> list[Buffer]:
    """Let ``event_stream`` use ``buffer``; returns the actors that were ended."""
    ended: list[Buffer] = []

    def get(work: Callable[[], list[Event]], timeout: float) -> list[Event]:
        return work()

    def remote(**_: Any) -> Callable[[type], Buffer]:
        return lambda actor: buffer

    stub = SimpleNamespace(get=get, remote=remote, kill=ended.append, exceptions=ray.exceptions)
    patch.setattr(events, "ray", stub)
    patch.setattr(events, "here", lambda: None)
    return ended


TOLD: list[Event] = [TextsEmbedded(done, 4, 1.0) for done in range(5)]


def test_the_last_event_comes_before_the_stream_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    buffer = Buffer()
    ended = in_this_process(monkeypatch, buffer)
    with events.event_stream(heard.append, interval=3600) as stream:
        assert buffer.asked.wait(20)
        stream.events += TOLD
    assert heard == TOLD
    assert ended == [buffer]


def test_a_lost_view_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    buffer = Buffer(lost=2)
    in_this_process(monkeypatch, buffer)
    with events.event_stream(heard.append, interval=0.01) as stream:
        assert buffer.asked.wait(20)
        stream.events += TOLD
    assert heard == TOLD
