"""Killed in the middle of an epoch and started again, a training ends with the weights of one that was not."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.conftest import ROOT
from tests.e2e.commands import SETTINGS, run_here

pytestmark = pytest.mark.ray


def weights(out: Path) -> dict:
    """Of the best epoch, and of the last one."""
    (last,) = (out / "steps").glob("train-*/attempt-*/epoch-0003/weights.safetensors")
    return load_file(out / "adapter" / "adapter_model.safetensors") | load_file(last)


@pytest.fixture(scope="module")
def arguments(sample_folder: Path, tiny_model: Path) -> list[str]:
    """Of the finished run, but for its output folder."""
    return ["--data_dir", str(sample_folder), "--model_name", str(tiny_model), *SETTINGS]


@pytest.fixture(scope="module")
def whole(ray_here: None, finished) -> Path:
    """The output of a run that nothing happened to."""
    return finished[1]


def prepared(whole: Path, out: Path) -> Path:
    """An output folder in which all is done but the training and what follows from it."""
    shutil.copytree(
        whole / "steps", out / "steps", ignore=shutil.ignore_patterns("train-????????", "choose-*", "*-tuned-*")
    )
    return out


def assert_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    assert all((found[name] == expected[name]).all() for name in expected)


def start(arguments: list[str], out: Path) -> subprocess.Popen:
    command = [sys.executable, ROOT / "pipelines" / "run.py", *arguments, "--output_dir", out]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def read_until(process: subprocess.Popen, text: str) -> str:
    """The output up to a line with ``text``, or all of it."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            break
    return "".join(seen)


def test_a_killed_run_and_a_killed_worker_cost_no_weights(tmp_path: Path, arguments: list[str], whole: Path) -> None:
    process = start(arguments, prepared(whole, tmp_path))
    seen = read_until(process, "epoch 2/3")  # epoch 1 has its checkpoint, epoch 2 is under way
    second = run_here(*arguments, "--output_dir", tmp_path, check=2)
    assert f"is in use by `run`, process {process.pid} on" in second.stderr
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL, seen
    assert not (tmp_path / "model").exists()
    time.sleep(5)  # the local cluster notices that its driver is gone

    plan = run_here(*arguments, "--output_dir", tmp_path, "--plan")
    assert "can be resumed" in plan.stdout
    process = start([*arguments, "--resume"], tmp_path)
    seen = read_until(process, "epoch 3/3")
    assert "lock    taken over from `run`, process" in seen
    events = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()]
    _, started = [event for event in events if event["event"] == "start"]
    while not any("epoch-0002" in path.read_text() for path in tmp_path.glob("steps/train-*/attempt-*/*snapshot.json")):
        time.sleep(0.1)  # a checkpoint counts once Ray Train's controller has it in its books
    os.kill(started["pid"], signal.SIGKILL)
    seen += read_until(process, "no such line")
    assert process.wait() == 0, seen
    assert "going on after epoch 1" in seen  # the run,
    assert "going on after epoch 2" in seen  # and the worker that was replaced
    assert_equal(weights(tmp_path), weights(whole))
    attempts = list((tmp_path / "steps").glob("train-*/attempt-*"))
    assert len(attempts) == 1  # the interrupted one left nothing behind


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_good_checkpoint(tmp_path: Path, arguments: list[str], whole: Path) -> None:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", tmp_path], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        process = start(arguments, prepared(whole, tmp_path))
        seen = read_until(process, "epoch 2/3")
        with contextlib.suppress(OSError), (tmp_path / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(1 << 16)):
                pass  # until nothing is left
        seen += read_until(process, "no such line")
        assert process.wait() == 2, seen
        assert "patent-embed: error: no space is left" in seen
        (tmp_path / "ballast").unlink()
        done = run_here(*arguments, "--output_dir", tmp_path, "--resume")
        assert "going on after epoch 1" in done.stdout
        assert_equal(weights(tmp_path), weights(whole))
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


def test_a_foreign_checkpoint_is_refused(tmp_path: Path, arguments: list[str], whole: Path) -> None:
    checkpoint = next((whole / "steps").glob("train-*/attempt-*/epoch-0003"))
    refused = [*arguments, "--output_dir", tmp_path / "out", "--margin", "0.2", "--resume"]
    assert "belongs to training train-" in run_here(*refused, checkpoint, check=2).stderr
    assert "is not a whole checkpoint" in run_here(*refused, tmp_path / "nowhere", check=2).stderr
    assert not (tmp_path / "out" / "steps").exists()  # before anything was done
