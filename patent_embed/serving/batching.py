"""Requests that wait at the same time are done together, by one thread."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Next = TypeVar("Next")
_Waiting = tuple[Item, "Future[Result]"]


def changed(first: Future[Result], change: Callable[[Result], Next]) -> Future[Next]:
    """``change`` of the result of ``first``, made by the thread that ends it. What either raises is raised."""
    return then(first, lambda result: resolved(change(result)))


def then(first: Future[Result], begin: Callable[[Result], Future[Next]]) -> Future[Next]:
    """The result of what ``begin`` begins with the result of ``first``, as soon as that is there: no thread has to wake
    up in between. What either raises is raised."""
    last: Future[Next] = Future()

    def begun(ended: Future[Result]) -> None:
        try:
            begin(ended.result()).add_done_callback(lambda done: _hand_on(done, last))
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            last.set_exception(error)

    first.add_done_callback(begun)
    return last


def resolved(result: Result) -> Future[Result]:
    """A future whose result is there already."""
    future: Future[Result] = Future()
    future.set_result(result)
    return future


def _hand_on(done: Future[Result], last: Future[Result]) -> None:
    if (error := done.exception()) is not None:
        last.set_exception(error)
    else:
        last.set_result(done.result())


class Batcher(Generic[Item, Result]):
    """Calls ``work`` with what came in while it was busy, by one thread. An item alone goes at once.

    The thread ends with ``close``, or when the batcher is no longer used.
    """

    def __init__(
        self, work: Callable[[list[Item]], Sequence[Result]], most: int, name: str, *, patience: float = 0.0
    ) -> None:
        """Start the thread.

        Args:
            work: a result an item, in their order; called by one thread.
            most: items at a time.
            patience: seconds that a batch waits for as many items as one of the two before had: who asked together is
                answered together, and asks again at about the same time.
        """
        self._waiting: queue.SimpleQueue[_Waiting[Item, Result] | None] = queue.SimpleQueue()
        thread = threading.Thread(target=_run, args=(work, most, patience, self._waiting), name=name, daemon=True)
        thread.start()
        self.close = weakref.finalize(self, self._waiting.put, None)

    def submit(self, item: Item) -> Future[Result]:
        """The item's result, to come. What ``work`` raises, all of its batch raise."""
        if not self.close.alive:
            raise RuntimeError("the batcher is closed")
        future: Future[Result] = Future()
        self._waiting.put((item, future))
        return future


def _run(
    work: Callable[[list[Item]], Sequence[Result]],
    most: int,
    patience: float,
    waiting: queue.SimpleQueue[_Waiting[Item, Result] | None],
) -> None:
    batch: list[_Waiting[Item, Result] | None] = []
    sizes = (1, 1)  # of the last batches
    while not batch or batch[-1] is not None:
        batch = []  # nothing is held while the thread waits
        batch = _next_batch(waiting, most, max(sizes), patience)
        sizes = (sizes[1], len(batch))
        _do(work, [each for each in batch if each is not None and each[1].set_running_or_notify_cancel()])


def _next_batch(
    waiting: queue.SimpleQueue[Item | None], most: int, expected: int, patience: float
) -> list[Item | None]:
    """What waits, at most ``most``; fewer than ``expected`` only after ``patience`` seconds. None is the last one."""
    batch = [waiting.get()]
    until = time.monotonic() + patience
    while batch[-1] is not None and len(batch) < most:
        left = until - time.monotonic() if len(batch) < expected else 0
        try:
            batch.append(waiting.get(timeout=left) if left > 0 else waiting.get_nowait())
        except queue.Empty:
            break
    return batch


def _do(work: Callable[[list[Item]], Sequence[Result]], asked: list[_Waiting[Item, Result]]) -> None:
    if not asked:
        return
    try:
        results = work([item for item, _ in asked])
        if len(results) != len(asked):
            raise RuntimeError(f"{len(asked)} items went in, {len(results)} results came out")
    except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
        for _, future in asked:
            future.set_exception(error)
    else:
        for (_, future), result in zip(asked, results, strict=True):
            future.set_result(result)
