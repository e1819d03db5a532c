"""All that listen hear the same, and none of them can end a run."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from patent_embed.progress.bus import Progress
from patent_embed.progress.events import (
    EpochEnded,
    Event,
    StepFinished,
    TextsEmbedded,
    TrainingStarted,
    TrainingStep,
    read_events,
)
from patent_embed.progress.listeners import JsonLines, Terminal
from patent_embed.progress.trackers import TRACKERS, Trackers


class Recorder:
    """Keeps what it is told; ``events`` are what it heard before it was closed."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.closed = 0

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def close(self) -> None:
        self.closed += 1


class Failing(Recorder):
    """Fails at every call."""

    def on_event(self, event: Event) -> None:
        super().on_event(event)
        raise ValueError("of its own making")

    def close(self) -> None:
        super().close()
        raise OSError("not even that")


TRAINING: list[Event] = [
    TrainingStarted(40, 30, 900, 5, 64, "cpu", 17, "192.0.2.1", from_epoch=0),
    EpochEnded(0, val_ndcg=0.25, best_val=0.25),
    TrainingStep(1, 1, 1, 1, 1e-3, 0.5, 100.0, 0.0),
    EpochEnded(1, 0.5, 0.4, val_ndcg=0.5, kept_epoch=1, best_val=0.5, stopped=False),
]


def test_all_listeners_hear_one_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sent: list[tuple[int, dict[str, float]]] = []

    class Kept:
        def __init__(self, *_: object) -> None: ...

        def log(self, scalars: dict[str, float], step: int) -> None:
            sent.append((step, scalars))

        def close(self) -> None: ...

    monkeypatch.setitem(TRACKERS, "wandb", Kept)
    path, recorder = tmp_path / "progress.jsonl", Recorder()
    progress = Progress([JsonLines(path), recorder, Terminal(log_every=10, min_seconds=0)])
    progress.emit(TextsEmbedded(1, 2, 1.0))
    with progress.also(Trackers(["wandb"], tmp_path / "train-1", {})):
        for event in TRAINING:
            progress.emit(event)
    progress.emit(StepFinished("train-1", False, {"triplets": 40}, 1.0))
    progress.close()
    assert list(read_events(path)) == recorder.events
    assert [event.kind for event in recorder.events] == ["embedded", "start", "epoch", "step", "epoch", "stage"]
    assert [step for step, _ in sent] == [0, 1, 1]
    assert sent[-1][1] == {"epoch/loss": 0.5, "val/ndcg_at_10": 0.5}
    assert capsys.readouterr().out.splitlines() == [
        "      1/2 texts  1.0/s  ETA 1.0 s",
        "      40 triplets, 30 texts, 900 tokens; 64 parameters on cpu",
        "      before training  val nDCG@10 0.2500",
        "  epoch 1/1 step 1/1 loss 0.5000 lr 1.0e-3 100 triplets/s ETA 0.0 s",
        "      epoch 1 done  loss 0.5000  val nDCG@10 0.5000  keeping epoch 1",
    ]


def test_a_listener_that_raises_is_dropped_and_the_others_hear_on(caplog: pytest.LogCaptureFixture) -> None:
    failing, recorder = Failing(), Recorder()
    progress = Progress([failing, recorder])
    with caplog.at_level(logging.WARNING, "patent_embed"):
        for event in TRAINING:
            progress.emit(event)
        progress.close()
    assert recorder.events == TRAINING
    assert failing.events == TRAINING[:1]
    assert (failing.closed, recorder.closed) == (1, 1)
    assert caplog.messages == [
        "nothing more goes to Failing: ValueError: of its own making",
        "Failing was not closed: OSError: not even that",
    ]


def test_who_listens_to_a_step_is_closed_at_its_end_whatever_comes() -> None:
    progress, guest = Progress(), Recorder()

    def interrupted_step() -> None:
        with progress.also(guest):
            progress.emit(TRAINING[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted_step()
    progress.emit(TRAINING[1])
    progress.close()
    assert guest.events == TRAINING[:1]
    assert guest.closed == 1


def test_an_interrupt_is_not_taken_for_a_failure() -> None:
    class Interrupted(Recorder):
        def on_event(self, event: Event) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Progress([Interrupted()]).emit(TRAINING[0])


def test_a_silent_step_says_that_it_is_at_work(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with progress.at_work("ingest", silence=0.05):
        deadline = time.monotonic() + 20
        while capsys.readouterr().out.count("ingest: at work for") < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with progress.at_work("embed-base", silence=60):
        progress.emit(TextsEmbedded(10, 20, 1.0))
    assert "at work" not in capsys.readouterr().out
