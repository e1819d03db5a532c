"""What a training asks of the cluster, and what its workers tell the driver and Ray Train."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patent_embed.progress.events import EpochEnded, Event
from pipelines import training
from pipelines.resources import NodeSize


class Told:
    """Stands for the buffer's handle and for ``ray.train``."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.reports: list[dict[str, Any]] = []
        self.put = SimpleNamespace(remote=self.events.append)
        self.Checkpoint = SimpleNamespace(from_directory=lambda folder: sorted(p.name for p in Path(folder).iterdir()))

    def report(self, metrics: dict[str, Any], checkpoint: Any, checkpoint_dir_name: str) -> None:
        self.reports.append({**metrics, "checkpoint": checkpoint, "folder": checkpoint_dir_name})


@pytest.mark.parametrize(("rank", "heard", "written"), [(0, 2, ["state.json"]), (1, 0, None)])
def test_ray_train_is_told_an_epochs_figures(
    monkeypatch: pytest.MonkeyPatch, rank: int, heard: int, written: list[str] | None
) -> None:
    told = Told()
    monkeypatch.setattr(training.ray, "train", told)
    reporter = training.RayReporter(told, rank)
    before = EpochEnded(0, val_ndcg=0.25, best_val=0.25)
    after = EpochEnded(1, 0.5, 2.0, val_ndcg=0.5, kept_epoch=1, best_val=0.5, stopped=False)
    reporter.epoch(before, None)
    reporter.epoch(after, lambda folder: (folder / "state.json").write_text("{}"))
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
            "checkpoint": written,
            "folder": "epoch-0001",
        },
    ]


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
