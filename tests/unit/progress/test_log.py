"""What a run shows while it trains."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from patent_embed.progress.log import ProgressLog, loss_curve
from patent_embed.progress.terminal import finished, note, planned


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


def test_a_long_training_fits_80_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = ProgressLog(tmp_path / "progress.jsonl", log_every=10)
    size = {"triplets": 29_876_543, "texts": 17_654_321, "tokens": 2_987_654_321, "trained_parameters": 102_267_648}
    log.training_event({"event": "start", **size, "device": "NVIDIA H100 80GB HBM3", "from_epoch": 3})
    step = {"epoch": 10, "epochs": 10, "step": 1_234_560, "steps": 4_687_500, "loss": 0.1729, "lr": 1.67e-5}
    log.training_event({"event": "step", **step, "triplets_per_s": 12345.0, "eta_s": 3599.0})
    log.close()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "12345/s ETA 59 min 59 s" in lines[-1]
    assert lines[0] == "      going on after epoch 3"


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ingest", "5,753 patents"),
        ("ingest", "12,345,678 records, 10,000,000 patents, 2,345,678 not_sampled"),
        ("ingest", "5,753 records, 2,500 patents, 3,253 not_sampled"),
        ("splits", ""),
        ("evaluate-sentence-transformers-paraphrase-multilingual-MiniLM-L12-v2", "1,258 queries"),
    ],
)
def test_a_finished_step_fits_80_columns(capsys: pytest.CaptureFixture[str], name: str, counts: str) -> None:
    finished(f"[11/12] {name:16}", counts, "2 h 03 min")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 or line == f"[11/12] {name}" for line in lines)
    assert not any(line.endswith(" 3,253") for line in lines)
    assert sum(line.endswith(" 2 h 03 min") for line in lines) == 1
    words = " ".join(lines).replace("2 h 03 min", "").split()
    assert words == ["[11/12]", name, *counts.split()]


def test_a_note_is_wrapped_and_a_path_in_it_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/shared/experiments-of-the-team/" + "x" * 60 + "/rejects.parquet"
    note(f"by rung: same_main_group 5,890,123, same_subclass 8,746,123, random 2,623,123; see {path}")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 or path in line for line in lines)
    assert path in " ".join(lines)


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


def test_a_silent_step_says_that_it_is_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = ProgressLog(tmp_path / "progress.jsonl", log_every=10)
    with log.at_work("ingest", silence=0.05):
        deadline = time.monotonic() + 20
        while capsys.readouterr().out.count("ingest: at work for") < 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    with log.at_work("embed-base", silence=60):
        log.texts(10, 20, 1.0)
    log.close()
    assert "at work" not in capsys.readouterr().out


def test_a_plan_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    planned(4, "negatives-0123456789abcdef", "reuse", "17,259 negatives, 5,753 anchors, 1,234,567 not_sampled")
    planned(5, "train-0123456789abcdef", "run", "")
    *first, last = capsys.readouterr().out.splitlines()
    assert len(first) == 2
    assert max(map(len, first)) <= 80
    assert first[1].strip() == "1,234,567 not_sampled"
    assert last == "   5  train-0123456789abcdef    run"


def test_reading_and_searching_show_rate_and_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = ProgressLog(tmp_path / "progress.jsonl", log_every=10, min_seconds=0)
    log.records(30_000, 120_000, 36_000_000, 300.0)
    log.records(120_000, 120_000, 144_000_000, 1200.0)  # the step's own line follows
    log.shards(3, 16, 6.0)
    log.close()
    assert capsys.readouterr().out.splitlines() == [
        "      30,000/120,000 pieces  36,000,000 records  120,000/s  ETA 15 min 00 s",
        "      3/16 shards  0.5/s  ETA 26 s",
    ]
