"""What a sweep leaves behind."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from patent_embed.config.load import load_config
from patent_embed.sweep.results import table, write_results
from patent_embed.sweep.trials import Sweep
from tests.sweeps import sweep


def test_the_best_trial_becomes_a_run(tmp_path: Path) -> None:
    config = load_config(options={"queries.api.key": "sk-very-secret", "data.data_dir": "d"})
    files = write_results(tmp_path, sweep(), config)
    assert [path.name for path in files] == ["results.parquet", "best.yaml", "sweep.html"]
    best = load_config(overlays=[tmp_path / "best.yaml"])
    assert (best.training.learning_rate, best.training.margin) == (1e-3, 0.25)
    assert (best.data.data_dir, best.queries.api.key) == ("d", None)
    assert "sk-very" not in (tmp_path / "best.yaml").read_text()
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["state"] for row in rows] == ["done", "halted", "done", "halted", "done", "failed"]
    assert rows[4]["best_val_ndcg@10"] == pytest.approx(0.6)
    assert rows[5]["error"] == "the loss became nan"
    page = (tmp_path / "sweep.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert f"python pipelines/run.py --config {tmp_path / 'best.yaml'}" in page
    assert "sk-very" not in page
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["training"]["margin"] == 0.25


def test_a_sweep_in_which_nothing_succeeded_leaves_its_trials(tmp_path: Path) -> None:
    failed = Sweep(sweep().space, 2, sweep().trials[5:])
    assert write_results(tmp_path, failed, load_config()) == [tmp_path / "results.parquet"]
    assert [path.name for path in tmp_path.iterdir()] == ["results.parquet"]


def test_the_table_fits_a_terminal() -> None:
    lines = table(sweep(), 8, 2).splitlines()
    assert lines[0].split() == ["trial", "learning_rate", "margin", "epoch", "nDCG@10", "state"]
    assert lines[1].split() == ["6", "5.0e-4", "0.5", "1/2", "0.9900", "failed:", "the", "loss", "became", "nan"]
    assert lines[2].split() == ["5", "1.0e-3", "0.25", "2/2", "0.6000", "done"]
    assert lines[-1] == "6 of 8 trials ended, about 8.3 s left"
    assert max(map(len, lines)) <= 80
