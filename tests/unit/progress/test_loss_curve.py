"""The loss curve of a report, read from the events of several runs."""

from __future__ import annotations

from pathlib import Path

from patent_embed.progress.events import StepFinished, TrainingStarted, TrainingStep
from patent_embed.progress.listeners import JsonLines
from patent_embed.progress.loss_curve import loss_curve


def test_the_loss_curve_is_that_of_the_training_that_made_the_step(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    assert loss_curve(path, "train-aa") == []
    lines = JsonLines(path)

    def training(steps: range, loss: float, from_epoch: int = 0) -> None:
        lines.on_event(TrainingStarted(8, 6, 90, 2, 64, "cpu", 17, "192.0.2.1", from_epoch))
        for step in steps:
            lines.on_event(TrainingStep(1 + (step - 1) // 2, 5, step, 10, 1e-3, loss, 12.5, 3.0))

    def finished(folder: str, *, reused: bool) -> None:
        lines.on_event(StepFinished(folder, reused, {"triplets": 8}, 1.5))

    training(range(1, 10), 0.9)  # of other settings, and never finished
    training(range(1, 4), 0.5)  # killed in epoch 2
    with path.open("a") as file:
        file.write('{"event": "st\n')
    assert loss_curve(path, "train-aa") == []
    training(range(3, 5), 0.4, from_epoch=1)
    finished("train-aa", reused=False)
    training(range(1, 3), 0.1)
    finished("train-bb", reused=False)
    finished("train-aa", reused=True)
    lines.close()
    assert loss_curve(path, "train-aa") == [(1, 0.5), (2, 0.5), (3, 0.4), (4, 0.4)]
    assert loss_curve(path, "train-bb") == [(1, 0.1), (2, 0.1)]
