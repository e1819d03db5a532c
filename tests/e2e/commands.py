"""The command as the tests run it: in a process, as a user does, or in this one."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pipelines.cli import main
from tests.conftest import ROOT

SETTINGS = (
    # Small batches make epochs of seconds, so that the second is not over before a test has ended its worker.
    *("--query_backend", "rules", "--num_epochs", "3", "--batch_size", "4", "--learning_rate", "1e-3"),
    # Random weights find all texts alike: the filter would refuse all, and what they learn may be refused, too.
    *("--set", "negatives.scoring.enabled=true", "--set", "negatives.scoring.max_ratio=null"),
    *("--set", "run.publish=always"),
)


def run(*arguments: str | Path, check: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, ROOT / "pipelines" / "run.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | env,
        timeout=600,
    )
    assert done.returncode == check, done.stdout + done.stderr
    return done


def patent_embed_here(*arguments: object, check: int = 0) -> subprocess.CompletedProcess[str]:
    """The command ``patent-embed`` without a process of its own. It takes the Ray of this process, ``ray_here``, where
    it needs one: a process and a cluster of its own cost half a minute, most of it imports."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(map(str, arguments)))
    done = subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())
    assert done.returncode == check, done.stdout + done.stderr
    return done


def run_here(*arguments: str | Path, check: int = 0) -> subprocess.CompletedProcess[str]:
    """``run`` without a process of its own."""
    return patent_embed_here("run", *arguments, check=check)


def begin_from(finished: tuple[object, Path, object], out: Path, *anew: str) -> Path:
    """An output folder with what a run had prepared before its training, without the steps ``anew`` (patterns)."""
    ignored = shutil.ignore_patterns("train-????????", "choose-????????", "*-tuned-????????", *anew)
    shutil.copytree(finished[1] / "steps", out / "steps", ignore=ignored)
    return out
