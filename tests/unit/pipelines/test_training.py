"""What a training asks of the cluster, and what its workers tell the driver and Ray Train."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray.train
from pyarrow import fs

from patent_embed.progress.events import EpochEnded, Event
from pipelines import training
from pipelines.resources import NodeSize


class Told:
    """Stands for the buffer's handle and for ``ray.train``."""

    def __init__(self, place: Path) -> None:
        self.events: list[Event] = []
        self.reports: list[dict[str, Any]] = []
        self.put = SimpleNamespace(remote=self.events.append)
        self.Checkpoint = ray.train.Checkpoint
        storage = SimpleNamespace(storage_filesystem=fs.LocalFileSystem(), experiment_fs_path=str(place))
        self.get_context = lambda: SimpleNamespace(get_storage=lambda: storage)

    def report(
        self, metrics: dict[str, Any], checkpoint: Any, checkpoint_dir_name: str, checkpoint_upload_fn: Any
    ) -> None:
        kept = checkpoint and checkpoint_upload_fn(checkpoint, checkpoint_dir_name)
        self.reports.append({**metrics, "checkpoint": kept and kept.path, "folder": checkpoint_dir_name})


FILES = ("best-val.safetensors", "best.safetensors", "optimizer.safetensors", "state.json", "weights.safetensors")


def write(folder: Path) -> None:
    for name in FILES:
        (folder / name).write_text(name)


@pytest.mark.parametrize(("rank", "heard"), [(0, 2), (1, 0)])
def test_ray_train_is_told_an_epochs_figures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rank: int, heard: int
) -> None:
    told = Told(tmp_path)
    monkeypatch.setattr(training.ray, "train", told)
    reporter = training.RayReporter(told, rank)
    before = EpochEnded(0, val_ndcg=0.25, best_val=0.25)
    after = EpochEnded(1, 0.5, 2.0, val_ndcg=0.5, kept_epoch=1, best_val=0.5, stopped=False)
    reporter.epoch(before, None)
    reporter.epoch(after, write)
    assert told.events == [before, after][:heard]
    assert told.reports == [
        {"epoch": 0, "val_ndcg@10": 0.25, "best_val": 0.25, "checkpoint": None, "folder": "epoch-0000"},
        {
            "epoch": 1,
            "loss": 0.5,
            "train_seconds": 2.0,
            "val_ndcg@10": 0.5,
            "kept_epoch": 1,
            "best_val": 0.5,
            "stopped": False,
            "checkpoint": None if rank else str(tmp_path / "epoch-0001"),
            "folder": "epoch-0001",
        },
    ]
    kept = {path.name: path.read_text() for path in tmp_path.glob("epoch-0001/*")}
    assert kept == ({} if rank else {name: name for name in FILES})


@pytest.mark.parametrize(
    ("nodes", "workers", "gpu", "cpus"),
    [
        ([(2, 0)], 1, False, 2),
        ([(1, 0)] * 3, 1, False, 1),
        ([(1, 0)] * 3, 3, False, 1),
        ([(8, 0), (2, 0)], 2, False, 4),
        ([(16, 8)], 8, True, 2),
        ([(32, 0), (8, 1)], 1, True, 4),
        ([(2, 0)], 4, False, 0.45),
    ],
)
def test_training_workers_find_a_place(nodes: list[tuple[float, int]], workers: int, gpu: bool, cpus: float) -> None:
    found = training._cpus_per_worker([NodeSize(*node) for node in nodes], workers, gpu)
    assert found == pytest.approx(cpus)
