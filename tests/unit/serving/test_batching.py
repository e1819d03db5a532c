from __future__ import annotations

import gc
import threading

import pytest

from patent_embed.serving.batching import Batcher


def test_what_waits_together_is_done_together() -> None:
    batches: list[list[int]] = []
    begun, go = threading.Event(), threading.Event()

    def work(items: list[int]) -> list[int]:
        begun.set()
        go.wait()
        batches.append(items)
        return [item * item for item in items]

    batcher = Batcher(work, 3, "test")
    futures = [batcher.submit(0)]
    begun.wait()
    futures += [batcher.submit(number) for number in range(1, 6)]
    go.set()
    assert [future.result() for future in futures] == [0, 1, 4, 9, 16, 25]
    assert batches == [[0], [1, 2, 3], [4, 5]]


def test_an_error_reaches_those_of_its_batch_and_the_next_goes_on() -> None:
    batcher = Batcher(lambda items: [1 / item for item in items], 1, "test")
    with pytest.raises(ZeroDivisionError):
        batcher.submit(0).result()
    assert batcher.submit(2).result() == 0.5
    short = Batcher(lambda items: [], 4, "test")
    with pytest.raises(RuntimeError, match="1 items went in, 0 results came out"):
        short.submit(1).result()


def test_its_thread_ends_with_it() -> None:
    batcher = Batcher(list, 4, "ends with it")
    batcher.submit(1).result()
    (thread,) = [each for each in threading.enumerate() if each.name == "ends with it"]
    del batcher
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()

    closed = Batcher(list, 4, "closed")
    closed.close()
    with pytest.raises(RuntimeError, match="closed"):
        closed.submit(1)
