"""Killed in the middle of an epoch and started again, a training ends with the weights of one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.conftest import ROOT
from tests.e2e.test_run import run

pytestmark = pytest.mark.ray


def weights(out: Path) -> dict:
    """Of the best epoch, and of the last one."""
    (last,) = (out / "steps").glob("train-*/attempt-*/epoch-0003/weights.safetensors")
    return load_file(out / "adapter" / "adapter_model.safetensors") | load_file(last)


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, sample_folder: Path, tiny_model: Path) -> None:
    arguments = [
        # Small batches make epochs of seconds, so that the second is not over before the worker dies with its driver.
        *("--data_dir", sample_folder, "--model_name", tiny_model, "--query_backend", "rules", "--batch_size", "1"),
        *("--num_epochs", "3", "--learning_rate", "1e-3", "--set", "evaluation.bm25=false"),
    ]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(*arguments, "--output_dir", whole)

    process = subprocess.Popen(
        [sys.executable, ROOT / "pipelines" / "run.py", *map(str, arguments), "--output_dir", killed],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if "epoch 2/3" in line:  # epoch 1 has its checkpoint, epoch 2 is under way
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    assert process.returncode == -signal.SIGKILL, "".join(seen)
    assert not (killed / "model").exists()
    time.sleep(5)  # the local cluster notices that its driver is gone

    plan = run(*arguments, "--output_dir", killed, "--plan")
    assert "can be resumed" in plan.stdout
    done = run(*arguments, "--output_dir", killed, "--resume")
    assert "going on after epoch 1" in done.stdout
    expected, found = weights(whole), weights(killed)
    assert expected.keys() == found.keys()
    assert all((expected[name] == found[name]).all() for name in expected)
    attempts = list((killed / "steps").glob("train-*/attempt-*"))
    assert len(attempts) == 1  # the interrupted one left nothing behind


def test_a_foreign_checkpoint_is_refused(tmp_path: Path, sample_folder: Path, tiny_model: Path) -> None:
    arguments = [
        *("--data_dir", sample_folder, "--model_name", tiny_model, "--query_backend", "rules", "--batch_size", "64"),
        *("--num_epochs", "1", "--set", "evaluation.bm25=false", "--output_dir", tmp_path / "out"),
    ]
    run(*arguments)
    checkpoint = next((tmp_path / "out" / "steps").glob("train-*/attempt-*/epoch-0001"))
    done = run(*arguments, "--margin", "0.2", "--resume", checkpoint, check=2)
    assert "belongs to training" in done.stderr
    done = run(*arguments, "--margin", "0.2", "--resume", tmp_path / "nowhere", check=2)
    assert "is not a whole checkpoint" in done.stderr
