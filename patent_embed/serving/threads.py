"""Threads of a server. Requests run at once, so libraries must not keep cores busy by waiting for work on them."""

from __future__ import annotations

import os

import threadpoolctl


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def calm_threads() -> None:
    """Let the libraries' threads sleep while they wait, for this process from now on. Call it before torch is imported.

    The threads of numpy's BLAS and of torch wait by spinning. With several of both they spin on the cores that others
    need: on two cores eight users then waited 1.7 s for an answer (``benchmarks/serving.py``). BLAS gets one thread,
    since searches have their own; torch's sleep.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    threadpoolctl.threadpool_limits(1, user_api="blas")
