"""The Ray session: connecting to a cluster or starting one on this machine, and what its workers need."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ray

log = logging.getLogger("patent_embed")
ROOT = Path(__file__).resolve().parent.parent
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


@contextlib.contextmanager
def ray_session(log_level: str, dashboard: bool = False) -> Iterator[None]:
    """Join the cluster this process runs in (RAY_ADDRESS, as in a Ray job) or start one here, with or without its
    dashboard; leave it at the end."""
    if ray.is_initialized():
        yield
        return
    debug = log_level == "DEBUG"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # do not hide a GPU from tasks that asked for none
    if not debug:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the rest is advice to Ray's own developers
    on_cluster = bool(os.environ.get("RAY_ADDRESS"))
    # Workers import this very code: a job's working_dir does that on a cluster, the path does it on this machine.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = WORKER_ENV if on_cluster else WORKER_ENV | {"PYTHONPATH": os.pathsep.join(paths)}
    with contextlib.nullcontext() if debug else _no_stderr():  # the core announces the log level it was given
        ray.init(
            logging_level=logging.INFO if debug else logging.ERROR,
            log_to_driver=debug,
            runtime_env={"env_vars": env},
            **({} if on_cluster else {"include_dashboard": dashboard}),
        )
    quiet_ray_data(debug)
    try:
        yield
    finally:
        ray.shutdown()


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


def cluster_resources() -> tuple[float, int]:
    """CPUs and GPUs of the whole cluster."""
    resources = ray.cluster_resources()
    return float(resources.get("CPU", 1.0)), int(resources.get("GPU", 0))


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
    buffer = EventBuffer.remote()
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


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._started
