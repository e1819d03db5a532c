"""Threads of a server: requests are what runs at once, so the libraries below must not bring threads of their own."""

from __future__ import annotations

import os

import threadpoolctl


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def share_cores(models: int) -> None:
    """Give numpy's BLAS one thread and torch its part of the cores, for this process from now on.

    The threads of both wait by spinning. With several models and requests at once they spin on the cores that others
    need: on two cores eight users then waited 1.7 s for what takes 20 ms (``benchmarks/serving.py``).
    """
    import torch

    threadpoolctl.threadpool_limits(1, user_api="blas")
    torch.set_num_threads(max(1, cores() // (2 * max(1, models))))
