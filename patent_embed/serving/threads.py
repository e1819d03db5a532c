"""Threads of a server. Requests run at once, so libraries must not keep cores busy by waiting for work on them."""

from __future__ import annotations

import contextlib
import ctypes
import os
from functools import cache

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


def use_threads_of_torch(count: int) -> None:
    """Let this thread's products run on ``count`` threads. Other threads keep what they have, which
    ``torch.set_num_threads`` would change."""
    import torch

    if torch.get_num_threads() != count:  # the first call in a thread sets its number
        _libraries().limit(limits=count, user_api="openmp")


@cache
def _libraries() -> threadpoolctl.ThreadpoolController:
    """What is loaded, torch among it; finding that takes milliseconds."""
    return threadpoolctl.ThreadpoolController()


def give_back_freed() -> None:
    """Give the system what was freed and is kept for later allocations: after much was made that lived shortly. Only
    glibc does this; elsewhere nothing happens."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
