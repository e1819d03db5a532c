"""A job on three Ray nodes that loses the one with its worker: python -m tests.node_loss BACKEND WHERE FOLDER.

BACKEND and WHERE are "api" and the URL of a server, or "llm" and a model folder. Writes the step's report to
FOLDER/report.json. The node goes once the store beside FOLDER holds an answer. A program of its own, since a process
has one Ray cluster.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

from patent_embed.config.queries import ApiConfig, QueriesConfig
from patent_embed.folders import folder_at
from pipelines.session import WORKER_ENV, quiet_ray_data
from pipelines.steps.queries import write_all
from tests.conftest import ROOT


def main() -> None:
    backend, where, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if backend == "api":
        from tests.ray_local.endpoint import KEY, corpus

        api = ApiConfig(base_url=where, key=KEY, model="m", requests_in_flight=8)
        config, table, worker = QueriesConfig(backend="api", api=api), corpus(120), "AskApi"
    else:
        from tests.llm.tiny import corpus, settings

        config, table, worker = settings(where), corpus(64), "AskEngine"
        patience = config.llm.model_copy(update={"node_wait_s": 180})  # longer than an engine starts
        config = config.model_copy(update={"llm": patience})
    # A folder of its own, or any other ray.init() on this machine would join the cluster. Sockets need a short path.
    os.environ["RAY_TMPDIR"] = scratch = tempfile.mkdtemp(prefix="r", dir="/tmp")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": 128 << 20})
    nodes = [cluster.add_node(num_cpus=2, object_store_memory=128 << 20) for _ in range(2)]
    env = WORKER_ENV | {"PYTHONPATH": str(ROOT)}
    ray.init(address=cluster.address, log_to_driver=False, runtime_env={"env_vars": env})
    quiet_ray_data()
    lost: list[str] = []

    def remove() -> None:
        while not list((folder.parent / "store").glob("*.parquet")):
            time.sleep(0.05)
        for node in nodes:
            raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
            if any(worker in " ".join(child.cmdline()) for child in raylet.children(recursive=True)):
                cluster.remove_node(node, allow_graceful=False)
                lost.append(node.node_id)
                return

    killer = threading.Thread(target=remove, daemon=True)
    killer.start()
    report = write_all(folder, table, config, None, folder_at(folder.parent / "store"), 1).report
    killer.join(timeout=10)
    counts = {"lost_nodes": len(lost), "nodes": sum(node["Alive"] for node in ray.nodes())}
    (folder / "report.json").write_text(json.dumps(report | counts))
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
    os._exit(0)  # all is written; why not further: pipelines.exit_without_teardown
