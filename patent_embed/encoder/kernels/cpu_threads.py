"""Independent pieces of work side by side on a CPU, instead of one after the other on all cores.

An operation that several threads share makes them wait for one another, and much of a layer is many small ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")


def each_alone(work: Callable[[A], B], pieces: Iterable[A]) -> Iterator[B]:
    """``work`` of each of the ``pieces``, in their order, without gradients.

    There are as many threads as torch has or as there are pieces; if these are fewer, each piece gets several.
    """
    todo, threads = list(pieces), torch.get_num_threads()
    if threads == 1 or len(todo) == 1:
        with torch.no_grad():
            yield from map(work, todo)
        return
    share = threads // min(threads, len(todo))

    def run(piece: A) -> B:
        if torch.get_num_threads() != share:
            torch.set_num_threads(share)  # of this thread
        with torch.no_grad():
            return work(piece)

    torch.set_num_threads(share)
    try:
        yield from _pool(threads).map(run, todo)
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, "patent_embed")
