"""What the tests of whole runs share: one finished run, and the Ray of the runs that need no process of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.commands import SETTINGS, run

SECRET = "sk-test-0123456789-secret"


@pytest.fixture(scope="package")
def ray_here(s3: str) -> Iterator[None]:
    """The session that a run would start, in this process: runs that find it take it and leave it. It begins after the
    store of the tests, so that its workers know where that is."""
    from pipelines.session import ray_session

    with ray_session("INFO"):
        yield


@pytest.fixture(scope="package")
def finished(
    tmp_path_factory: pytest.TempPathFactory, sample_folder: Path, tiny_model: Path
) -> tuple[tuple[str, ...], Path, subprocess.CompletedProcess[str]]:
    """(arguments, output folder, terminal output) of a whole run in a process of its own."""
    out = tmp_path_factory.mktemp("run")
    # Relative paths, as users give them: the workers' working directory is another one.
    data, output, model = (os.path.relpath(path) for path in (sample_folder, out, tiny_model))
    arguments = ("--data_dir", data, "--output_dir", output, "--model_name", model, *SETTINGS)
    return arguments, out, run(*arguments, OPENAI_API_KEY=SECRET)
