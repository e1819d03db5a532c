from __future__ import annotations

import gc
import threading
from concurrent.futures import Future

import pytest

from patent_embed.serving.batching import Batcher, changed, then


class Held:
    """Squares, of which none is given before ``go``."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, items: list[int]) -> list[int]:
        self.begun.set()
        self.go.wait()
        self.batches.append(items)
        return [item * item for item in items]


def test_what_waits_together_is_done_together() -> None:
    work = Held()
    batcher = Batcher(work, 3, "test")
    futures = [batcher.submit(0)]
    work.begun.wait()
    futures += [batcher.submit(number) for number in range(1, 6)]
    work.go.set()
    assert [future.result() for future in futures] == [0, 1, 4, 9, 16, 25]
    assert work.batches == [[0], [1, 2, 3], [4, 5]]


def test_a_batch_waits_for_as_many_as_the_one_before_had() -> None:
    work = Held()
    batcher = Batcher(work, 3, "test", patience=60)
    futures = [batcher.submit(0)]  # nothing to wait for
    work.begun.wait()
    futures += [batcher.submit(number) for number in (1, 2)]
    work.go.set()
    assert [future.result() for future in futures] == [0, 1, 4]
    work.begun.clear()
    first = batcher.submit(3)
    assert not work.begun.wait(0.2)  # it waits for another one
    second = batcher.submit(4)
    assert (first.result(), second.result()) == (9, 16)
    assert work.batches == [[0], [1, 2], [3, 4]]


def test_an_item_does_not_wait_longer_than_its_patience() -> None:
    batches: list[list[int]] = []
    batcher = Batcher(lambda items: batches.append(items) or items, 8, "test", patience=0.001)  # type: ignore[func-returns-value]
    for number in range(5):
        assert batcher.submit(number).result() == number
    assert batches == [[number] for number in range(5)]


def test_what_is_done_with_a_result_follows_in_the_thread_that_ends_it() -> None:
    first: Future[int] = Future()
    threads: list[threading.Thread] = []

    def double(number: int) -> int:
        threads.append(threading.current_thread())
        return 2 * number

    doubled = changed(first, double)
    batcher = Batcher(lambda items: [1 / item for item in items], 4, "test")
    inverse = then(doubled, batcher.submit)
    ending = threading.Thread(target=first.set_result, args=(2,))
    ending.start()
    assert (doubled.result(), inverse.result()) == (4, 0.25)
    assert threads == [ending]
    zero: Future[int] = Future()
    failed = changed(then(zero, batcher.submit), round)
    zero.set_result(0)
    with pytest.raises(ZeroDivisionError):
        failed.result()


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
