"""The Ray session: connecting to a cluster or starting one on this machine, and what its workers need."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.autoscaler.v2.schema import ClusterStatus
from ray.autoscaler.v2.sdk import get_cluster_status
from ray.util import metrics
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from patent_embed.config import NodeKind
from patent_embed.progress import duration, note

log = logging.getLogger("patent_embed")
ROOT = Path(__file__).resolve().parent.parent
# What Ray raises for an actor, a worker or an object that went down with its node.
NODE_LOSSES = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.ObjectLostError,
    ray.exceptions.NodeDiedError,
)
WORKER_ENV = {
    "TOKENIZERS_PARALLELISM": "false",
    # glibc keeps freed memory instead of returning it: torch on a CPU otherwise faults in every activation anew.
    # benchmarks/dropout.py with and without these: 0.031 and 0.107 s for its larger layer, forward and backward.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 30),
}
# For processes that train or embed. Batches of ever other sizes, and a CUDA graph for each, break the memory that
# torch keeps into pieces: 6.1 GiB were held where 4.4 were used, 4.6 with this. Not for vLLM, which shares memory
# between GPUs.
GPU_ENV = {"PYTORCH_CUDA_ALLOC_CONF": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")}


def on_cluster() -> bool:
    """Whether the run joins a cluster, whose nodes may be other machines, instead of starting Ray here."""
    return bool(os.environ.get("RAY_ADDRESS"))


_grows_to: Sequence[NodeKind] = ()  # of the session


@contextlib.contextmanager
def ray_session(log_level: str, grows_to: Sequence[NodeKind] = (), *, dashboard: bool = False) -> Iterator[None]:
    """Join the cluster this process runs in (RAY_ADDRESS, as in a Ray job) or start one here, with or without its
    dashboard; leave it at the end. ``grows_to``: what the cluster's autoscaler may add."""
    global _grows_to
    _grows_to = grows_to
    if ray.is_initialized():
        yield
        return
    debug = log_level == "DEBUG"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # do not hide a GPU from tasks that asked for none
    if not debug:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the rest is advice to Ray's own developers
    # Workers import this very code: a job's working_dir does that on a cluster, the path does it on this machine.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = WORKER_ENV if on_cluster() else WORKER_ENV | {"PYTHONPATH": os.pathsep.join(paths)}
    local: dict[str, Any] = {} if on_cluster() else {"include_dashboard": dashboard}
    if dashboard and not on_cluster():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            local["dashboard_port"] = probe.getsockname()[1]
        # Without it, workers that ask the state API look for a cluster, and fail where this machine runs several.
        env = env | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{local['dashboard_port']}"}
    with contextlib.nullcontext() if debug else _no_stderr():  # the core announces the log level it was given
        ray.init(
            logging_level=logging.INFO if debug else logging.ERROR,
            log_to_driver=debug,
            runtime_env={"env_vars": env},
            **local,
        )
    quiet_ray_data(debug)
    try:
        with waiting_is_said(), _stop_is_interrupt():
            yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _stop_is_interrupt() -> Iterator[None]:
    """SIGTERM, by which `ray job stop` ends a driver, works like Ctrl-C: what runs on the cluster is cleared away."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a script's shell sets it for what it starts with "&"
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)  # through Ray Train's handler, where it has one

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def interrupt_stays_interrupt() -> Iterator[None]:
    """Ray Train answers Ctrl-C with exit code 0, and also after the training: here it stays a KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _no_stderr() -> Iterator[None]:
    """Silence native code, too, for the length of the block. Python exceptions pass."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def quiet_ray_data(debug: bool = False) -> None:
    """Keep Ray Data's bars and plans off the terminal: the pipeline has its own lines."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = debug
    if not debug:
        for name in ("ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.ERROR)


class NodeSize(NamedTuple):
    """What a node offers to tasks and actors."""

    cpus: float
    gpus: int


def cluster_nodes() -> list[NodeSize]:
    """Every node of the cluster, and every node that its autoscaler may add (``run.grows_to``).

    So a job on a cluster that starts from zero asks for what it can get, and asking is what makes the nodes come.
    """
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    sizes = [NodeSize(resources.get("CPU", 0.0), int(resources.get("GPU", 0))) for resources in alive]
    there = Counter(sizes)
    for kind in _grows_to:
        size = NodeSize(float(kind.cpus), kind.gpus)
        sizes += [size] * (kind.count - there[size])
    return [size for size in sizes if size.cpus or size.gpus] or [NodeSize(1.0, 0)]


def cluster_gpus() -> int:
    """GPUs of the whole cluster, grown as far as it may."""
    return sum(size.gpus for size in cluster_nodes())


def here() -> NodeAffinitySchedulingStrategy:
    """Keeps an actor on the driver's node: it dies with the driver, not with a node of the cluster."""
    return NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)


@contextlib.contextmanager
def waiting_is_said(after: float = 30.0, interval: float = 2.0) -> Iterator[None]:
    """Say what the run waits for once the same requests for resources have been pending for ``after`` seconds, and
    again after twice that, and so on. It goes on waiting: nodes may come, other jobs may end."""
    address, stop = ray.get_runtime_context().gcs_address, threading.Event()

    def watch() -> None:
        pending, since, next_word = "", time.monotonic(), after
        while not stop.wait(interval):
            try:
                status = get_cluster_status(address)
            except Exception as error:  # the view must not end the run
                log.debug("the cluster's status is not available: %s", error)
                continue
            if (found := _pending(status)) != pending:
                pending, since, next_word = found, time.monotonic(), after
            elif pending and (waited := time.monotonic() - since) >= next_word:
                text = f"has waited {duration(waited)} for {pending}; {_offer(status)}"
                note(text)
                next_word *= 2

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=15)


def _pending(status: ClusterStatus) -> str:
    """``2 x (CPU 1, GPU 1)``: what tasks, actors and placement groups ask for and do not have yet."""
    demands = status.resource_demands.ray_task_actor_demand + status.resource_demands.placement_group_demand
    counts: Counter[str] = Counter()
    for demand in demands:
        for request in demand.bundles_by_count:
            shape = ", ".join(f"{name} {value:g}" for name, value in sorted(request.bundle.items()))
            counts[shape] += request.count
    return " and ".join(f"{count} x ({shape})" for shape, count in sorted(counts.items()))


def _offer(status: ClusterStatus) -> str:
    """``the cluster has 2 of 2 CPU in use, no GPU``."""
    usage = {each.resource_name: each for each in status.cluster_resource_usage}
    parts = [
        f"{usage[name].used:g} of {usage[name].total:g} {name} in use" if name in usage else f"no {name}"
        for name in ("CPU", "GPU")
    ]
    coming = len(status.pending_nodes) + sum(launch.count for launch in status.pending_launches)
    return f"the cluster has {', '.join(parts)}" + (f", {coming} more nodes are coming" if coming else "")


def free_resources() -> NodeSize:
    """What nothing holds at this moment."""
    resources = ray.available_resources()
    return NodeSize(float(resources.get("CPU", 0.0)), int(resources.get("GPU", 0)))


@ray.remote(num_cpus=0)
class EventBuffer:
    """Carries progress events from workers on any node to the driver."""

    def __init__(self) -> None:
        self._events: list[dict[str, Any]] = []

    def put(self, event: dict[str, Any]) -> None:
        self._events.append(event)

    def drain(self) -> list[dict[str, Any]]:
        events, self._events = self._events, []
        return events


@contextlib.contextmanager
def event_stream(handle: Callable[[dict[str, Any]], None], interval: float = 0.5) -> Iterator[Any]:
    """Yield an EventBuffer for workers; ``handle`` is called on the driver with each event, in order."""
    buffer = EventBuffer.options(scheduling_strategy=here()).remote()
    stop = threading.Event()

    def pump() -> None:
        while True:
            last = stop.is_set()
            try:
                for event in ray.get(buffer.drain.remote(), timeout=10):
                    handle(event)
            except ray.exceptions.RayError as error:  # the view must not end the run; the events are in the result too
                log.debug("progress events are not available: %s", error)
            if last:
                return
            stop.wait(interval)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield buffer
    finally:
        stop.set()
        thread.join(timeout=15)
        ray.kill(buffer)


# Event of a step at work → the step, and what of the event is counted.
_RATES = {"read": ("ingest", "records"), "generated": ("queries", "done"), "embedded": ("embed", "done")}


class RunMetrics:
    """Progress events as Ray metrics, which every node's agent offers to Prometheus under ``ray_patent_embed_...``."""

    def __init__(self) -> None:
        self._rows = metrics.Counter("patent_embed_rows", "rows that finished steps gave", ("step", "kind"))
        self._rate = metrics.Gauge("patent_embed_rows_per_second", "of the step at work, or as it ended", ("step",))
        self._loss = metrics.Gauge("patent_embed_training_loss", "of the last step")

    def observe(self, event: str, content: dict[str, Any]) -> None:
        if event == "stage" and not content["reused"]:
            step = content["step"].rpartition("-")[0]
            for kind, count in content["rows"].items():
                if count:
                    self._rows.inc(count, {"step": step, "kind": kind})
            if content["seconds"]:
                self._rate.set(max(content["rows"].values(), default=0) / content["seconds"], {"step": step})
        elif event == "step":
            self._rate.set(content["triplets_per_s"], {"step": "train"})
            self._loss.set(content["loss"])
        elif event in _RATES and content["seconds"]:
            step, counted = _RATES[event]
            self._rate.set(content[counted] / content["seconds"], {"step": step})


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started
