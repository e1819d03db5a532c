"""Search by Ray Serve on two nodes: shards on both, merged, give what one process gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from patent_embed.data.sample import query
from patent_embed.serving.app import response_of
from patent_embed.serving.corpus import Filters
from patent_embed.serving.engine import Query
from pipelines.served_run import served_run
from tests.conftest import ROOT
from tests.e2e.commands import SETTINGS
from tests.ray_nodes import Driver, RayNodes, free_port, wait_for

pytestmark = pytest.mark.ray
ALL = ("hybrid", "tuned", "base", "bm25")
# What `serve run` does, at a port of our own.
SERVE = """
import sys, time, ray
from ray import serve
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary
from pipelines.serve import app
ray.init(runtime_env={"env_vars": {"PYTHONPATH": sys.argv[3]}})
serve.start(http_options={"port": int(sys.argv[2])})
options = {"output": sys.argv[1], "shards": "2", "most_replicas": "1"}
serve.run(call_user_app_builder_with_args_if_necessary(app, options))
print("serving", flush=True)
time.sleep(3600)
"""


def test_shards_on_two_nodes_give_what_one_process_gives(tmp_path: Path, sample_folder: Path, tiny_model: Path) -> None:
    out, port = tmp_path / "out", free_port()
    with RayNodes(4) as cluster:
        arguments = ("--data_dir", sample_folder, "--output_dir", out, "--model_name", tiny_model, *SETTINGS)
        driver = Driver(arguments, cluster.env)
        assert driver.wait() == 0, driver.output
        second = cluster.add(4)
        serving = subprocess.Popen(
            [sys.executable, "-c", SERVE, out, str(port), ROOT],
            env=os.environ | cluster.env | {"PYTHONPATH": str(ROOT)},
        )
        try:
            wait_for(lambda: serving.poll() is not None or _answers(port), 500, "Ray Serve")
            assert serving.poll() is None
            # Four shards, two encoders and the site take seven CPUs: neither node has them.
            assert second.runs("ServeReplica")
            assert cluster.nodes[0].runs("ServeReplica")
            engine = served_run(str(out)).engine()
            for filters in (Filters(), Filters(ipc=("G", "H04"))):
                for number in range(3):
                    asked = Query(query(7, number), systems=ALL, count=30, filters=filters)
                    expected = response_of(engine, engine.search(asked)).model_dump(mode="json")
                    found = _search(port, asked)
                    for name in ALL:
                        assert [(hit["publication_number"], hit["ranks"]) for hit in found["systems"][name]] == [
                            (hit["publication_number"], hit["ranks"]) for hit in expected["systems"][name]
                        ]
                    assert found["facets"] == expected["facets"]
        finally:
            serving.kill()
            serving.wait()


def _search(port: int, asked: Query) -> dict[str, dict[str, list[dict[str, object]]]]:
    body = {"query": asked.text, "systems": asked.systems, "count": asked.count, "ipc": asked.filters.ipc}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/search", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, dict[str, list[dict[str, object]]]] = json.load(answer)
        return found


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
