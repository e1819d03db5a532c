"""The Ray session: connecting to a cluster or starting one on this machine, and what its workers need."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray

from patent_embed.config.run import NodeKind
from patent_embed.errors import UserError
from patent_embed.progress.terminal import say
from pipelines.cluster import cluster_to_join, joinable_here, told_address
from pipelines.resources import may_grow_to, waiting_is_said

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
    # Threads that wait for others sleep. Spinning, as is the default, they take the cores from those they wait for as
    # soon as anything else runs there: a product of 48 x 32 x 96 took 20 ms instead of 33 us on two busy cores.
    "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
}
# On a machine of its own Ray starts workers at niceness 15, so that anything else that runs there goes first.
NICENESS = "RAY_worker_niceness"
# For processes that train or embed. Batches of ever other sizes, and a CUDA graph for each, break the memory that
# torch keeps into pieces: 6.1 GiB were held where 4.4 were used, 4.6 with this. Not for vLLM, which shares memory
# between GPUs.
GPU_ENV = {"PYTORCH_CUDA_ALLOC_CONF": os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")}


def on_cluster() -> bool:
    """Whether the run joins a cluster, whose nodes may be other machines, instead of starting Ray here."""
    return told_address() is not None


@contextlib.contextmanager
def ray_session(log_level: str, grows_to: Sequence[NodeKind] = (), *, dashboard: bool = False) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, as it does in a Ray job, or start a Ray of our own on this machine,
    with or without its dashboard; say which, and leave it at the end.

    Args:
        grows_to: what the cluster's autoscaler may add.

    Raises:
        UserError: there is no such cluster, or it cannot be joined.
    """
    may_grow_to(grows_to)
    if ray.is_initialized():
        yield
        return
    address = _chosen()
    debug = log_level == "DEBUG"
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # do not hide a GPU from tasks that asked for none
    if not debug:
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # the rest is advice to Ray's own developers
    # Workers import this very code: a job's working_dir does that on a cluster, the path does it on this machine.
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = WORKER_ENV if on_cluster() else WORKER_ENV | {"PYTHONPATH": os.pathsep.join(paths)}
    if not on_cluster():
        os.environ.setdefault(NICENESS, "0")
    local: dict[str, Any] = {} if on_cluster() else {"include_dashboard": dashboard}
    if dashboard and not on_cluster():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            local["dashboard_port"] = probe.getsockname()[1]
        # Without it, workers that ask the state API look for a cluster, and fail where this machine runs several.
        env = env | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{local['dashboard_port']}"}
    with contextlib.nullcontext() if debug else _no_stderr():  # the core announces the log level it was given
        try:
            ray.init(
                address=address or "local",  # None would join whatever `ray start` left an address of
                logging_level=logging.INFO if debug else logging.ERROR,
                log_to_driver=debug,
                runtime_env={"env_vars": env},
                **local,
            )
        except (ConnectionError, ray.exceptions.AuthenticationError) as error:
            raise UserError(f"Ray cannot be {'joined' if on_cluster() else 'started'}: {_first_line(error)}") from None
    quiet_ray_data(debug)
    try:
        with waiting_is_said(), _stop_is_interrupt():
            yield
    finally:
        ray.shutdown()


def _chosen() -> str | None:
    """The cluster to join, or None; which is said, and so is one on this machine that is not joined."""
    if (address := cluster_to_join()) is not None:
        say(f"ray     the cluster at {address}")
    elif (beside := joinable_here()) is not None:
        say(f"ray     its own, not the cluster at {beside}: RAY_ADDRESS=auto joins that")
    return address


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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


def give_back_memory() -> None:
    """What this process has freed goes back to the system. Arrow and glibc keep it for the next time, which for the
    driver is another step, as large as the corpus."""
    pa.default_memory_pool().release_unused()
    with contextlib.suppress(AttributeError, OSError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def quiet_ray_data(debug: bool = False) -> None:
    """Keep Ray Data's bars and plans off the terminal: the pipeline has its own lines."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = debug
    if not debug:
        for name in ("ray.data", "ray.train"):
            logging.getLogger(name).setLevel(logging.ERROR)
