"""What a run shows while it trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patent_embed.progress import ProgressLog, loss_curve


@pytest.mark.parametrize(("speed", "shown"), [(4.04, " 4.0 triplets/s"), (1029.1, " 1029 triplets/s")])
def test_a_step_is_one_line_of_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], speed: float, shown: str
) -> None:
    log = ProgressLog(tmp_path / "progress.jsonl", log_every=10)
    step = {"epoch": 5, "epochs": 5, "step": 9990, "steps": 9999, "loss": 0.17291, "lr": 1.67e-5}
    log.training_event({"event": "step", **step, "triplets_per_s": speed, "eta_s": 1257.0})
    log.training_event({"event": "step", **step | {"step": 9991}, "triplets_per_s": speed, "eta_s": 1257.0})
    log.close()
    (line,) = capsys.readouterr().out.splitlines()
    assert len(line) <= 80
    assert all(
        part in line for part in ("epoch 5/5", "step 9990/9999", "loss 0.1729", "lr 1.7e-5", shown, "20 min 57 s")
    )
    kept = [json.loads(text) for text in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [event["step"] for event in kept] == [9990, 9991]  # the file has every step
    assert kept[0]["loss"] == 0.17291


def test_the_loss_curve_is_that_of_the_training_that_made_the_step(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    assert loss_curve(path, "train-aa") == []
    log = ProgressLog(path, log_every=100)

    def training(steps: range, loss: float, from_epoch: int = 0) -> None:
        log.record("start", from_epoch=from_epoch)
        for step in steps:
            log.record("step", epoch=1 + (step - 1) // 2, step=step, loss=loss)

    training(range(1, 10), 0.9)  # of other settings, and never finished
    training(range(1, 4), 0.5)  # killed in epoch 2
    with path.open("a") as file:
        file.write('{"event": "st\n')
    assert loss_curve(path, "train-aa") == []
    training(range(3, 5), 0.4, from_epoch=1)
    log.record("stage", step="train-aa", reused=False)
    training(range(1, 3), 0.1)
    log.record("stage", step="train-bb", reused=False)
    log.record("stage", step="train-aa", reused=True)
    log.close()
    assert loss_curve(path, "train-aa") == [(1, 0.5), (2, 0.5), (3, 0.4), (4, 0.4)]
    assert loss_curve(path, "train-bb") == [(1, 0.1), (2, 0.1)]
