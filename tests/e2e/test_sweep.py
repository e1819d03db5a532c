"""A sweep as a user runs it: a trial that lags behind is stopped, one that fails is told, a killed sweep goes on."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from patent_embed.config.load import load_config
from pipelines.sweep import _reason
from tests.conftest import ROOT
from tests.e2e.commands import run_here

TRIALS = 4


RESULTS = ("results.parquet", "best.yaml", "sweep.html")
# The command, which says of each of the results when it is written whether the folder is locked then.
LISTENED = f"""
import os, sys
from pathlib import Path
def hear(event, arguments):
    if event == "os.rename" and (path := Path(os.fsdecode(arguments[1]))).name in {RESULTS}:
        print("written", path.name, "locked" if (path.parent.parent / "run.lock").exists() else "open")
sys.addaudithook(hear)
from pipelines.cli import program
sys.exit(program())
"""


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class _Touch:
    """Unpickled, it makes the file ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mknod, (str(self.path),)


def _plant_pickles(folder: Path, tmp_path: Path) -> Path:
    """Put code in place of all that Ray Tune keeps in ``folder``; the file that says that it ran."""
    ran = tmp_path / "ran"
    code = pickle.dumps(_Touch(ran))
    for name in ("tuner.pkl", "trainable.pkl", "search_gen_state-x.json", "searcher-state-x.pkl"):
        (folder / name).write_bytes(code)
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix in (".pkl", ".json"):
            path.write_bytes(code)
    return ran


@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_sweep_goes_on(tmp_path: Path, sample_folder: Path, tiny_model: Path) -> None:
    command = [
        *(sys.executable, ROOT / "pipelines" / "tune.py", "--data_dir", sample_folder, "--model_name", tiny_model),
        *("--output_dir", tmp_path, "--query_backend", "rules", "--num_epochs", "2", "--batch_size", "32"),
        *("--num_samples", TRIALS, "--set", "negatives.scoring.enabled=false", "--seed", 24),
        # The values that this seed draws first leave the model as it is, spoil it, make its weights infinite, and
        # spoil it again.
        *("--set", "tune.space.learning_rate=choice(1e-6, 0.1)"),
        *("--set", "tune.space.weight_decay=choice(0.01, 1e38)"),
    ]
    sweep = tmp_path / "sweep"
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(f"1 of {TRIALS} trials ended"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL, "".join(seen)
    (first,) = lines(sweep / "ended.jsonl")
    epochs = [line for line in lines(sweep / "epochs.jsonl") if line["trial"] == first["trial"]]
    time.sleep(5)  # the local cluster notices that its driver is gone
    ran = _plant_pickles(sweep / "tune", tmp_path)
    with (sweep / "epochs.jsonl").open("a") as file:
        file.write('{"trial": "trial-0')  # as a kill leaves it

    resumed = [sys.executable, "-c", LISTENED, "tune", *command[2:], "--resume", "--refit"]
    done = subprocess.run(list(map(str, resumed)), capture_output=True, text=True, timeout=600, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"(?m)^written (\S+) (\w+)$", done.stdout) == [(name, "locked") for name in RESULTS]
    assert not ran.exists()
    assert [line for line in lines(sweep / "epochs.jsonl") if line["trial"] == first["trial"]] == epochs
    rows = pq.read_table(sweep / "results.parquet").to_pylist()
    assert len({line["trial"] for line in lines(sweep / "ended.jsonl")}) == len(rows) == TRIALS
    # The second is judged by what the first reached before the kill; the last begins after one was stopped.
    assert [row["state"] for row in rows] == ["done", "halted", "failed", "halted"]
    assert [row["error"] for row in rows] == ["", "", "the loss became nan", ""]
    assert rows[2]["training.weight_decay"] == 1e38
    assert f"{TRIALS} of {TRIALS} trials ended" in done.stdout
    assert "\r" not in done.stdout
    assert "Traceback" not in done.stderr
    assert "the loss is nan" in (sweep / "trials" / lines(sweep / "ended.jsonl")[2]["trial"] / "error.json").read_text()
    assert max(map(len, re.findall(r"(?m)^(?:trial  |\d).*$", done.stdout))) <= 80

    best = max((row for row in rows if row["state"] != "failed"), key=lambda row: row["best_val_ndcg@10"])
    assert load_config(overlays=[sweep / "best.yaml"]).training.learning_rate == best["training.learning_rate"]
    assert f"Trial {best['trial']} is the best" in (sweep / "sweep.html").read_text(encoding="utf-8")
    plan = run_here("--config", sweep / "best.yaml", "--plan").stdout
    assert re.search(r"tokens-\w+ +reuse", plan)  # what the trials shared serves the run as well
    assert re.search(r"train-\w+ +reuse", plan)  # --refit trained just these settings,
    tested = json.loads((tmp_path / "metrics.json").read_text())["systems"]["tuned"]["test"]["metrics"]
    assert 0 < tested["ndcg@10"] <= 1  # and measured them
    assert (
        load_config(overlays=[tmp_path / "config.yaml"]).training
        == load_config(overlays=[sweep / "best.yaml"]).training
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("the loss is nan at step 3 (learning rate 1): the weights are lost", "the loss became nan"),
        ("Traceback\n  x\ntorch.OutOfMemoryError: CUDA out of memory. Tried 3 GiB", "out of memory"),
        ("Traceback\n  File 7\nValueError: 12 is wrong\n\nCheck this and that\n", "ValueError: N is wrong"),
        ("", "unknown"),
    ],
)
def test_failures_have_short_names(error: str, reason: str) -> None:
    assert _reason(error) == reason
