"""What a run shows while it trains, and what its file has of it."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from patent_embed.progress.events import (
    EpochEnded,
    PiecesRead,
    QueriesWritten,
    ShardsSearched,
    StepFinished,
    TextsEmbedded,
    TrainingStarted,
    TrainingStep,
)
from patent_embed.progress.listeners import JsonLines, Terminal


def training_step(step: int, steps: int, speed: float, eta_s: float, epochs: int = 5) -> TrainingStep:
    return TrainingStep(
        epoch=epochs,
        epochs=epochs,
        step=step,
        steps=steps,
        lr=1.67e-5,
        loss=0.17291,
        triplets_per_s=speed,
        eta_s=eta_s,
    )


def started(from_epoch: int) -> TrainingStarted:
    return TrainingStarted(
        triplets=29_876_543,
        texts=17_654_321,
        tokens=2_987_654_321,
        val_queries=1,
        trained_parameters=102_267_648,
        device="NVIDIA H100 80GB HBM3",
        pid=1,
        node="192.0.2.1",
        from_epoch=from_epoch,
    )


@pytest.mark.parametrize(("speed", "shown"), [(4.04, " 4.0 triplets/s"), (1029.1, " 1029 triplets/s")])
def test_a_step_is_one_line_of_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], speed: float, shown: str
) -> None:
    listeners = [JsonLines(tmp_path / "progress.jsonl"), Terminal(log_every=10)]
    for listener in listeners:
        for step in (9990, 9991):
            listener.on_event(training_step(step, 9999, speed, eta_s=1257.0))
        listener.close()
    (line,) = capsys.readouterr().out.splitlines()
    assert len(line) <= 80
    assert all(
        part in line for part in ("epoch 5/5", "step 9990/9999", "loss 0.1729", "lr 1.7e-5", shown, "20 min 57 s")
    )
    kept = [json.loads(text) for text in (tmp_path / "progress.jsonl").read_text().splitlines()]
    assert [event["step"] for event in kept] == [9990, 9991]  # the file has every step
    assert kept[0]["loss"] == 0.17291


def test_the_first_and_the_last_step_have_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(log_every=10)
    for step in range(1, 24):
        terminal.on_event(training_step(step, 23, 12.0, eta_s=5.0))
    shown = [line.split(" step ")[1].split("/")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["1", "10", "20", "23"]


def test_a_long_training_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(log_every=10)
    terminal.on_event(started(from_epoch=3))
    terminal.on_event(training_step(1_234_560, 4_687_500, 12345.0, eta_s=3599.0, epochs=10))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "12345/s ETA 59 min 59 s" in lines[-1]
    assert lines[0] == "      going on after epoch 3"
    terminal.on_event(started(from_epoch=0))
    first, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("      29,876,543 triplets, 17,654,321 texts, ")


def test_epochs_say_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(log_every=10)
    terminal.on_event(EpochEnded(0, val_ndcg=0.43841, best_val=0.43841))
    terminal.on_event(EpochEnded(1, 0.29699, 18.4, val_ndcg=0.43904, kept_epoch=1, best_val=0.43904, stopped=False))
    terminal.on_event(EpochEnded(2, 0.25, 18.9, kept_epoch=2, stopped=False))
    assert capsys.readouterr().out.splitlines() == [
        "      before training  val nDCG@10 0.4384",
        "      epoch 1 done  loss 0.2970  val nDCG@10 0.4390  keeping epoch 1",
        "      epoch 2 done  loss 0.2500  keeping epoch 2",
    ]


def test_reading_writing_embedding_and_searching_show_rate_and_rest(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(log_every=10, min_seconds=0)
    terminal.on_event(PiecesRead(30_000, 120_000, 36_000_000, 300.0))
    terminal.on_event(PiecesRead(120_000, 120_000, 144_000_000, 1200.0))  # the step's own line follows
    terminal.on_event(ShardsSearched(3, 16, 6.0))
    terminal.on_event(ShardsSearched(0, 16, 6.0))  # nothing to guess the rest from
    terminal.on_event(TextsEmbedded(5_000, 10_000, 2.0))
    terminal.on_event(QueriesWritten(24, 1_200, 12.0))
    terminal.on_event(StepFinished("queries-0123abcd", False, {"queries": 1200}, 600.0))
    assert capsys.readouterr().out.splitlines() == [
        "      30,000/120,000 pieces  36,000,000 records  120,000/s  ETA 15 min 00 s",
        "      3/16 shards  0.5/s  ETA 26 s",
        "      5,000/10,000 texts  2,500/s  ETA 2.0 s",
        "      24/1,200 queries  2.0/s  ETA 9 min 48 s",
    ]


def test_lines_of_a_long_step_keep_their_distance(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(log_every=10, min_seconds=3600)
    for done in range(1, 20):
        terminal.on_event(TextsEmbedded(done, 20, 1.0))
    assert capsys.readouterr().out == ""


def test_a_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "below" / "progress.jsonl"
    for done in (1, 2):
        lines = JsonLines(path)
        lines.on_event(TextsEmbedded(done, 2, 1.0))
        lines.close()
    kept = [json.loads(text) for text in path.read_text().splitlines()]
    assert [event["done"] for event in kept] == [1, 2]
    assert all(event["time"] == round(event["time"], 3) > 1.7e9 for event in kept)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device here is always full")
def test_a_full_disk_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    lines = JsonLines(Path("/dev/full"))
    with caplog.at_level(logging.WARNING, "patent_embed"):
        for done in range(3):
            lines.on_event(TextsEmbedded(done, 3, 1.0))
        lines.close()
    assert caplog.messages == ["/dev/full: events are missing from here: No space left on device"]
