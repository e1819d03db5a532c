"""A job on a cluster without workers makes CPU and GPU nodes come, and they go when they are no longer used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray_nodes import ROOT, Driver, RayNodes, wait_for

pytestmark = pytest.mark.ray
CPU_WORKER = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 2}
GPU_WORKER = {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": 1}

# The GPUs are not real, so that the training itself is left out of what the pipeline asks of the cluster.
REQUESTS = """
import sys
from pathlib import Path
import ray
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from patent_embed.config.load import load_config
from patent_embed.config.settings import Config
from patent_embed.data.inputs import find_input
from pipelines.resources import NodeSize, cluster_nodes
from pipelines.session import ray_session
from pipelines.steps import ingest
from pipelines.training import scale

def kinds():
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return sorted("gpu" if "GPU" in each else "cpu" if "CPU" in each else "head" for each in alive)

data, out = map(Path, sys.argv[1:])
grown = load_config(settings=["run.grows_to=[{cpus: 1, count: 2}, {cpus: 1, gpus: 1, count: 1}]"])
with ray_session("INFO", grown.run.grows_to):
    assert sorted(cluster_nodes()) == [NodeSize(1.0, 0), NodeSize(1.0, 0), NodeSize(1.0, 1)], cluster_nodes()
    print("start", *kinds(), flush=True)
    ingest.ingest(out, find_input(str(data)), Config().data, 42)
    print("ingest", *kinds(), flush=True)
    scaling = scale(Config())
    assert scaling.resources_per_worker == {"CPU": 1, "GPU": 1}
    DataParallelTrainer(
        lambda: None, scaling_config=scaling, run_config=ray.train.RunConfig(storage_path=str(out.parent / "train"))
    ).fit()
    print("train", *kinds(), flush=True)
"""


def test_gpu_nodes_come_for_the_training_and_go(tmp_path: Path, sample_folder: Path) -> None:
    (tmp_path / "ingest").mkdir()
    with RayNodes(0, node_types={"cpu_worker": CPU_WORKER, "gpu_worker": GPU_WORKER}) as cluster:
        done = subprocess.run(
            [sys.executable, "-c", REQUESTS, sample_folder, tmp_path / "ingest"],
            env=os.environ | cluster.env | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        seen = {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines()) if words[0] != "has"}
        assert seen["start"] == ["head"]
        assert "cpu" in seen["ingest"]
        assert "gpu" not in seen["ingest"]  # what runs on CPUs brings no GPU node
        assert "gpu" in seen["train"]
        wait_for(lambda: cluster.alive() == 1, 300, "the workers to go")


def test_a_whole_run_from_zero(tmp_path: Path, sample_folder: Path, tiny_model: Path) -> None:
    arguments = ("--data_dir", sample_folder, "--output_dir", tmp_path, "--model_name", tiny_model)
    settings = ("--query_backend", "rules", "--num_epochs", "1", "--batch_size", "64")
    with RayNodes(0, node_types={"cpu_worker": CPU_WORKER}) as cluster:
        wait_for(lambda: cluster.alive() == 1, what="the head alone")
        driver = Driver((*arguments, *settings, "--set", "run.grows_to=[{cpus: 1, count: 2}]"), cluster.env)
        assert driver.wait() == 0, driver.output
    assert (tmp_path / "metrics.json").exists()
