"""Ray nodes as processes of their own on this machine: a cluster that tests and benchmarks can take apart."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

ROOT = Path(__file__).resolve().parent.parent
_RAY = str(Path(sys.executable).parent / "ray")
# Every port that Ray would otherwise take at a fixed place, where another cluster may sit.
_FREE_PORTS = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], Any], seconds: float = 300, what: str = "") -> Any:
    """The first true value of ``condition``."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise TimeoutError(f"waited {seconds:g} s in vain for {what or condition}")
        time.sleep(0.05)
    return value


@dataclass
class Node:
    """One ``ray start --block`` and everything below it."""

    process: subprocess.Popen[bytes]
    log: Path

    def processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def runs(self, name: str) -> bool:
        """Whether a worker of this node is at a task or actor of that name."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                title = " ".join(process.cmdline())
                if title.startswith("ray::") and name in title:
                    return True
        return False

    def kill(self) -> None:
        """As when the power goes: every process at once, nothing told to anyone."""
        for process in [psutil.Process(self.process.pid), *self.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def stop(self) -> None:
        if self.process.poll() is None:
            below = self.processes()
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=15)
            for process in below:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            if self.process.poll() is None:
                self.kill()


class Driver:
    """``python pipelines/run.py`` as a process, its lines as they come. ``env`` joins it to a cluster."""

    def __init__(self, arguments: Sequence[str | Path], env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            [sys.executable, ROOT / "pipelines" / "run.py", *map(str, arguments)],
            env=os.environ | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def saw(self, text: str) -> bool:
        """Whether a line with ``text`` has come; an early end is an error."""
        if text in self.output:
            return True
        if self._process.poll() is not None:
            raise RuntimeError(f"the run ended with {self._process.returncode} before {text!r}:\n{self.output}")
        return False

    def wait(self, seconds: float = 900) -> int:
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"the run did not end within {seconds:g} s:\n{self.output}") from None
        self._reader.join(10)
        return code

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class RayNodes:
    """``with RayNodes() as cluster``: a head on free loopback ports; ``cluster.add()`` starts further nodes.

    With ``node_types``, those of a launcher file, Ray's autoscaler adds and removes nodes on this machine by itself,
    through the provider that Ray has for tests. With ``token`` all of it asks for token authentication.
    ``cluster.env`` is what a driver needs to join.
    """

    def __init__(
        self,
        cpus: float = 1,
        *,
        token: bool = False,
        dashboard: bool = False,
        node_types: dict[str, dict[str, Any]] | None = None,
        object_store_mib: int = 100,
    ) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pe-"))  # short: the names of sockets below it may not be long
        self.nodes: list[Node] = []
        self.address, self.url = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
        self.env = {"RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "disabled"}
        if token:
            path = self.folder / "token"
            path.write_text(os.urandom(32).hex())
            path.chmod(0o600)
            self.env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}
        self._head_options = [
            *("--head", f"--num-cpus={cpus:g}", f"--port={self.address.rpartition(':')[2]}"),
            *("--node-ip-address=127.0.0.1", f"--temp-dir={self.folder}", "--dashboard-host=127.0.0.1"),
            *(f"--dashboard-port={self.url.rpartition(':')[2]}", f"--include-dashboard={dashboard}"),
            f"--ray-client-server-port={free_port()}",
        ]
        self._env: dict[str, str] = {}
        if node_types is not None:
            path = self.folder / "autoscaler.json"
            provider = _PROVIDER | {"gcs_address": self.address}
            config = _AUTOSCALER | {"provider": provider, "available_node_types": node_types | _HEAD}
            path.write_text(json.dumps(config))
            self._head_options.append(f"--autoscaling-config={path}")
            self._env = _AUTOSCALER_ENV
        self._dashboard, self._metrics_port = dashboard, 0
        self._object_store_mib = object_store_mib

    def __enter__(self) -> Self:
        try:
            self._start(self._head_options)
            self._wait_for_nodes()
            if self._dashboard:
                port = int(self.url.rpartition(":")[2])
                wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0, what="the dashboard")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for node in reversed(self.nodes):
            node.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, cpus: float = 1, core: int | None = None) -> Node:
        """One more node, ready for work; with ``core``, all of it runs on that core of the machine."""
        options = [f"--address={self.address}", f"--num-cpus={cpus:g}", "--node-ip-address=127.0.0.1"]
        node = self._start(options, [] if core is None else ["taskset", "-c", str(core)])
        self._wait_for_nodes()
        return node

    def workers(self) -> list[Node]:
        """The nodes besides the head that were not killed."""
        return [node for node in self.nodes[1:] if node.process.poll() is None]

    def metrics(self) -> str:
        """What the head's agent offers to Prometheus."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics_port}/metrics") as response:
                return str(response.read().decode())
        except OSError:
            return ""  # not yet

    def alive(self) -> int:
        """Nodes that the head counts as alive."""
        done = subprocess.run(
            [sys.executable, "-c", _COUNT, self.address], env=os.environ | self.env, capture_output=True, text=True
        )
        return int(done.stdout or 0)

    def _start(self, options: list[str], prefix: Sequence[str] = ()) -> Node:
        metrics_port = free_port()
        self._metrics_port = self._metrics_port or metrics_port  # the head's
        ports = [f"--metrics-export-port={metrics_port}", *(f"--{name}={free_port()}" for name in _FREE_PORTS)]
        command = [
            *(*prefix, _RAY, "start", "--block", "--disable-usage-stats"),
            f"--object-store-memory={self._object_store_mib << 20}",
            *("--min-worker-port=0", "--max-worker-port=0", *ports, *options),
        ]
        log = self.folder / f"node-{len(self.nodes)}.log"
        # The variables of a driver are not those of a node: RAY_ADDRESS would make a head of a head.
        env = {
            key: value for key, value in (os.environ | _PATIENT | self.env | self._env).items() if key != "RAY_ADDRESS"
        }
        # A job's "python" is the one of the node's PATH, as in an activated environment.
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=env, stdout=file, stderr=file, start_new_session=True)
        node = Node(process, log)
        self.nodes.append(node)
        return node

    def _wait_for_nodes(self) -> None:
        started = [node for node in self.nodes if node.process.poll() is None]

        def ready() -> bool:
            ended = [
                node.log.read_text(errors="replace")[-3000:] for node in started if node.process.poll() is not None
            ]
            if ended:
                raise RuntimeError("\n".join(ended))
            return self.alive() >= len(started)

        try:
            wait_for(ready, 600, what=f"{len(started)} nodes")
        except TimeoutError:
            raise RuntimeError("\n".join(node.log.read_text(errors="replace")[-2000:] for node in self.nodes)) from None


_PATIENT = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_agent_register_timeout_ms": "300000",
}  # other work on the machine must not fail a test
_HEAD = {"ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0}}
_HEAD_ID = "f" * 51 + "00000"
_PROVIDER = {  # by its class: the defaults of the type "fake_multinode" are not in Ray's wheel
    "type": "external",
    "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
    "launch_multiple": True,
    "head_node_id": _HEAD_ID,
    "disable_node_updaters": True,
    "disable_launch_config_check": True,
}
_AUTOSCALER = {
    "cluster_name": "fake",
    "max_workers": 8,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 0.1,
    "head_node_type": "ray.head.default",
    **{name: {} for name in ("auth", "docker", "file_mounts")},
    "cluster_synced_files": [],
    **{
        f"{name}_commands": []
        for name in ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    },
}
_AUTOSCALER_ENV = {
    "RAY_FAKE_CLUSTER": "1",
    "RAY_enable_autoscaler_v2": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
}
_COUNT = """
import sys
from ray._raylet import GcsClient
print(sum(node.state == 0 for node in GcsClient(address=sys.argv[1]).get_all_node_info().values()))
"""
