"""Which Ray a command runs on: its own, the cluster that it was told, and never the address that an ended one left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from patent_embed.errors import UserError
from pipelines.cluster import cluster_to_join
from tests.conftest import ROOT
from tests.ray_nodes import RayNodes, wait_for

pytestmark = pytest.mark.ray
# Dies as a command does, with what its user would see. Four CPUs are nobody's but the cluster's.
SESSION = """
import sys
import ray
from patent_embed.errors import UserError
from pipelines.session import ray_session
try:
    with ray_session("INFO"):
        print("cpus", int(ray.cluster_resources()["CPU"]), flush=True)
except UserError as error:
    print(error)
    sys.exit(2)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayNodes]:
    """A cluster whose address lies where Ray looks for it, as ``ray start`` leaves it."""
    with RayNodes(4, token=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def left_behind(cluster: RayNodes) -> Iterator[dict[str, str]]:
    """The environment in which Ray finds the cluster's address."""
    folder = Path(tempfile.mkdtemp(prefix="pe-"))
    (folder / "ray").mkdir()
    address = cluster.folder / "ray_current_cluster"
    wait_for(address.exists, 60, str(address))  # written once the nodes are there
    shutil.copy(address, folder / "ray")
    yield {"RAY_TMPDIR": str(folder)}
    shutil.rmtree(folder, ignore_errors=True)


def session(env: dict[str, str]) -> tuple[int, str]:
    """Exit code and lines of a session in a process of its own. It ends within a minute, or the test fails."""
    variables = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | env
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        env=variables | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout


def address_in(left_behind: dict[str, str]) -> str:
    return (Path(left_behind["RAY_TMPDIR"]) / "ray" / "ray_current_cluster").read_text()


def test_a_cluster_that_runs_is_joined_where_it_is_told(cluster: RayNodes, left_behind: dict[str, str]) -> None:
    code, lines = session(cluster.env)
    assert (code, lines.splitlines()) == (0, [f"ray     the cluster at {cluster.address}", "cpus 4"])
    left = address_in(left_behind)  # the same, by another of the machine's addresses
    token = {name: cluster.env[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH")}
    code, lines = session(left_behind | token | {"RAY_ADDRESS": "auto"})
    assert (code, lines.splitlines()) == (0, [f"ray     the cluster at {left}", "cpus 4"])


def test_a_cluster_that_runs_here_is_not_joined_untold(left_behind: dict[str, str]) -> None:
    code, lines = session(left_behind)
    said, cpus = lines.splitlines()
    assert code == 0
    assert said == f"ray     its own, not the cluster at {address_in(left_behind)}: RAY_ADDRESS=auto joins that"
    assert cpus == f"cpus {os.cpu_count()}"


def test_a_cluster_with_a_token_says_so(cluster: RayNodes) -> None:
    code, lines = session({"RAY_ADDRESS": cluster.address, "RAY_AUTH_MODE": "disabled"})
    assert code == 2
    assert lines.startswith(f"RAY_ADDRESS={cluster.address}: the cluster asks for its token")


def test_an_ended_cluster_is_not_waited_for(cluster: RayNodes, left_behind: dict[str, str]) -> None:
    """The last test of this cluster: its head ends by SIGTERM, as at the end of a terminal."""
    cluster.nodes[0].stop()
    assert address_in(left_behind)
    assert session(left_behind) == (0, f"cpus {os.cpu_count()}\n")
    code, lines = session(left_behind | {"RAY_ADDRESS": "auto"})
    assert code == 2
    assert lines.startswith("RAY_ADDRESS=auto: nobody answers there")
    with pytest.raises(UserError, match="nobody answers there"):
        cluster_to_join({"RAY_ADDRESS": cluster.address}, patience=2)
