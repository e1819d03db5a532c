"""Training curves for other tools: what TensorBoard would read, and that a tracker never ends a training."""

from __future__ import annotations

import logging
import resource
import struct
from pathlib import Path

import pytest

from patent_embed.progress.events import EpochEnded, Event, TrainingStarted, TrainingStep
from patent_embed.progress.trackers import TRACKERS, TensorBoard, Tracker, Trackers

EVENTS: list[Event] = [
    TrainingStarted(40, 30, 900, 5, 64, "cpu", 17, "192.0.2.1", from_epoch=0),
    EpochEnded(0, val_ndcg=0.25, best_val=0.25),
    TrainingStep(1, 1, 1, 2, lr=1e-3, loss=0.5, triplets_per_s=100.0, eta_s=1.0),
    TrainingStep(1, 1, 2, 2, lr=5e-4, loss=0.375, triplets_per_s=110.0, eta_s=0.0),
    EpochEnded(1, 0.4375, 2.0, val_ndcg=0.5, kept_epoch=1, best_val=0.5, stopped=False),
]


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """All scalars of TensorBoard's record files (length, its checksum, event, its checksum)."""
    from tensorboardX.proto import event_pb2

    found = {}
    for path in folder.glob("events.out.tfevents.*"):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = event_pb2.Event.FromString(data[at + 12 : at + 12 + length])
            found.update({(value.tag, event.step): value.simple_value for value in event.summary.value})
            at += 16 + length
    return found


def feed(names: list[str], folder: Path) -> None:
    open_trackers = Trackers(names, folder, {"batch_size": 8})
    for event in EVENTS:
        open_trackers.on_event(event)
    open_trackers.close()


def test_tensorboard_files_hold_the_curves(tmp_path: Path) -> None:
    feed(["tensorboard"], tmp_path / "train-1")
    found = scalars(tmp_path / "train-1")
    assert found[("val/ndcg_at_10", 0)] == 0.25
    assert found[("val/ndcg_at_10", 2)] == 0.5
    assert found[("epoch/loss", 2)] == 0.4375
    assert [found[("train/loss", step)] for step in (1, 2)] == [0.5, 0.375]
    assert found[("train/learning_rate", 2)] == pytest.approx(5e-4)
    assert len(found) == 9


def test_a_tracker_that_fails_or_is_missing_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(TensorBoard):
        def log(self, *_: object) -> None:
            raise ConnectionError("no such server")

    def missing(*_: object) -> Tracker:
        raise ModuleNotFoundError("No module named 'wandb'", name="wandb")

    monkeypatch.setitem(TRACKERS, "mlflow", Failing)
    monkeypatch.setitem(TRACKERS, "wandb", missing)
    with caplog.at_level(logging.WARNING, "patent_embed"):
        feed(["mlflow", "wandb", "tensorboard"], tmp_path / "train-1")
    assert caplog.messages == [
        "nothing goes to wandb: wandb is not installed",
        "nothing more goes to mlflow: ConnectionError: no such server",
    ]
    assert len(scalars(tmp_path / "train-1")) >= 9


def test_mlflow_gets_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    feed(["mlflow"], tmp_path / "train-1")
    (run,) = mlflow.search_runs(experiment_names=["patent_embed"], output_format="list")
    assert run.info.run_name == "train-1"
    assert run.data.metrics["val/ndcg_at_10"] == 0.5
    assert run.data.params == {"batch_size": "8"}


def test_wandb_gets_the_curves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    feed(["wandb"], tmp_path / "train-1")
    (record,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert b"val/ndcg_at_10" in record.read_bytes()


def test_a_full_disk_ends_the_curves_and_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trackers = Trackers(["tensorboard"], tmp_path, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # no file gets larger: as on a disk that is full
    try:
        for _ in range(100):
            for event in EVENTS:
                trackers.on_event(event)
        trackers.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "nothing more goes to tensorboard: OSError" in warning
