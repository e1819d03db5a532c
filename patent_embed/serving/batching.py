"""Requests that wait at the same time are done together: one thread, without a delay of its own."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Waiting = tuple[Item, "Future[Result]"]


class Batcher(Generic[Item, Result]):
    """Calls ``work`` with what came in while it was busy. Nothing waits for a batch to fill: alone, an item goes alone.

    The thread ends with ``close``, or when the batcher is no longer used.
    """

    def __init__(self, work: Callable[[list[Item]], Sequence[Result]], most: int, name: str) -> None:
        """``work``: a result an item, in their order; called by one thread. ``most``: items at a time."""
        self._waiting: queue.SimpleQueue[_Waiting[Item, Result] | None] = queue.SimpleQueue()
        thread = threading.Thread(target=_run, args=(work, most, self._waiting), name=name, daemon=True)
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
    work: Callable[[list[Item]], Sequence[Result]], most: int, waiting: queue.SimpleQueue[_Waiting[Item, Result] | None]
) -> None:
    last = False
    while not last:
        batch = [waiting.get()]
        while batch[-1] is not None and len(batch) < most:
            try:
                batch.append(waiting.get_nowait())
            except queue.Empty:
                break
        last = batch[-1] is None
        asked = [each for each in batch if each is not None and each[1].set_running_or_notify_cancel()]
        if not asked:
            continue
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
        batch, asked = [], []  # nothing is held while the thread waits
