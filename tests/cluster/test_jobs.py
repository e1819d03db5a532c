"""``ray job submit`` as the README shows it: with a token and without, to the end, into an error, stopped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.ray_nodes import RayNodes, wait_for

pytestmark = pytest.mark.ray
RAY = str(Path(sys.executable).parent / "ray")
COMMAND = ("python", "pipelines/run.py", "--query_backend", "rules", "--set", "evaluation.bm25=false")


@pytest.fixture(scope="module")
def head() -> Iterator[RayNodes]:
    with RayNodes(2, token=True, dashboard=True) as cluster:
        yield cluster


def job(cluster: RayNodes, *arguments: str | Path, **env: str) -> subprocess.CompletedProcess[str]:
    """``ray job ...`` in a terminal at the repository's root."""
    variables = os.environ | cluster.env | {"RAY_API_SERVER_ADDRESS": cluster.url} | env
    # The working directory carries the code: nothing of ours is installed on the cluster, or on its PYTHONPATH.
    variables = {key: value for key, value in variables.items() if key not in ("RAY_ADDRESS", "PYTHONPATH")}
    command = [RAY, "job", *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )


LEFT_OVER = """
import ray
ray.init(log_to_driver=False, logging_level="ERROR")
own = ray.get_runtime_context().get_job_id()
actors = [a for a in ray._private.state.actors().values() if a["State"] != "DEAD" and a["JobID"] != own]
print([a["ActorClassName"] for a in actors if not a["Name"]])  # named ones are Ray's own and outlive a job
groups = ray.util.placement_group_table().values()
print([group["placement_group_id"] for group in groups if group["state"] != "REMOVED"])
"""


def left_over(cluster: RayNodes) -> str:
    done = subprocess.run(
        [sys.executable, "-c", LEFT_OVER], env=os.environ | cluster.env, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_job_runs_to_its_end_with_a_token(
    head: RayNodes, tmp_path: Path, sample_folder: Path, tiny_model: Path
) -> None:
    arguments = ("--data_dir", sample_folder, "--output_dir", tmp_path, "--model_name", tiny_model)
    refused = job(head, "submit", "--working-dir", ".", "--", "true", RAY_AUTH_MODE="disabled")
    assert refused.returncode != 0  # authentication is on
    done = job(
        *(head, "submit", "--working-dir", ".", "--", *COMMAND, *arguments),
        *("--num_epochs", "1", "--batch_size", "64", "--set", "run.publish=always"),
    )
    assert done.returncode == 0, done.stdout
    assert "[11/11] evaluate-tuned" in done.stdout
    assert "\r" not in done.stdout
    assert "tuned" in json.loads((tmp_path / "metrics.json").read_text())["systems"]
    assert left_over(head).split() == ["[]", "[]"]


def test_a_failed_job_ends_with_our_message(head: RayNodes, tmp_path: Path) -> None:
    done = job(
        *(head, "submit", "--working-dir", ".", "--", *COMMAND, "--data_dir", "/nowhere", "--output_dir", tmp_path)
    )
    assert done.returncode == 1  # all that Ray knows; the driver's own code is in the message
    output = done.stdout.strip().splitlines()
    assert output[-1].startswith("patent-embed: error: data_dir '/nowhere' does not exist")
    assert any("failed with exit code 2" in line for line in output)
    assert not any("Traceback" in line for line in output)


def test_a_stopped_job_leaves_nothing_behind(
    head: RayNodes, tmp_path: Path, sample_folder: Path, tiny_model: Path
) -> None:
    arguments = ("--data_dir", sample_folder, "--output_dir", tmp_path, "--model_name", tiny_model)
    job(
        *(head, "submit", "--no-wait", "--submission-id", "stop-me", "--working-dir", ".", "--", *COMMAND, *arguments),
        *("--num_epochs", "500", "--batch_size", "8"),
    )
    wait_for(lambda: " step " in job(head, "logs", "stop-me").stdout, 600, "the training")
    wait_for(lambda: "ray_patent_embed_rows_per_second{" in head.metrics(), what="a rate among the metrics")
    assert re.search(r'ray_patent_embed_rows_total{.*kind="patents".*step="ingest".*} 120', head.metrics())
    assert left_over(head).split() != ["[]", "[]"]
    assert job(head, "stop", "stop-me").returncode == 0
    wait_for(lambda: left_over(head).split() == ["[]", "[]"], what="actors and placement groups to go")
    wait_for(
        lambda: "'stop-me' was stopped" in job(head, "status", "stop-me").stdout, 60, "the job to be called stopped"
    )


def test_without_authentication(tmp_path: Path) -> None:
    with RayNodes(1, dashboard=True) as cluster:
        submit = ("submit", "--working-dir", ".", "--", *COMMAND)
        done = job(cluster, *submit, "--data_dir", "/nowhere", "--output_dir", tmp_path)
    assert done.returncode == 1
    assert "patent-embed: error: data_dir '/nowhere' does not exist" in done.stdout
