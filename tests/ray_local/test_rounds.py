"""Two rounds of requests meet the same actors, and no row of the first waits for the second."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray

from patent_embed.config.queries import LlmConfig, QueriesConfig
from patent_embed.errors import UserError
from patent_embed.queries.asking import Patent, Request
from pipelines.backends import llm, rounds
from pipelines.resources import NodeSize

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


class Echo:
    """Says which process it is and how many rows it was handed."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        if "hang" in batch["key"].to_pylist():
            time.sleep(10)  # longer than the check below waits
        size = pa.array([len(batch)] * len(batch))
        return (
            batch.select(["key", "attempt"])
            .append_column("pid", pa.array([os.getpid()] * len(batch)))
            .append_column("size", size)
        )


def pipeline(requests: ray.data.Dataset, size: int) -> ray.data.Dataset:
    # Two operators that gather whole batches, as the engine's stages do.
    for _ in range(2):
        requests = requests.map_batches(lambda batch: batch, batch_size=size, batch_format="pyarrow", num_cpus=0.1)
    return requests.map_batches(
        Echo, batch_size=size, batch_format="pyarrow", compute=ray.data.ActorPoolStrategy(size=1), num_cpus=0.1
    )


def direct(requests: ray.data.Dataset, size: int) -> ray.data.Dataset:
    """As today's backends: each block is handed on as it comes."""
    return requests.map_batches(
        Echo, batch_size=None, batch_format="pyarrow", compute=ray.data.ActorPoolStrategy(size=1), num_cpus=0.1
    )


def requests(count: int, attempt: int = 0, key: str = "") -> list[Request]:
    patents = [Patent(f"CN{i}A", f"泵{i}", "一种泵", "zh") for i in range(count)]
    return [Request(p, 0, "claim", attempt, key or f"{p.number}/{attempt}", 7) for p in patents]


def answers(backend: rounds.RoundsPipeline, asked: list[Request]) -> list[dict[str, Any]]:
    return [row for piece in backend(asked) for row in piece.to_pylist()]


@pytest.mark.parametrize(("first", "second"), [(22, 9), (3, 1)])
def test_both_rounds_meet_the_same_actor(first: int, second: int) -> None:
    backend = rounds.RoundsPipeline(pipeline, lambda count: 4)
    try:
        one = answers(backend, requests(first))
        two = answers(backend, requests(second, attempt=1))
    finally:
        backend.close()
    assert sorted(row["key"] for row in one) == sorted(request.key for request in requests(first))
    assert sorted(row["key"] for row in two) == sorted(request.key for request in requests(second, attempt=1))
    assert {row["attempt"] for row in two} == {1}
    assert len({row["pid"] for row in one + two}) == 1


def test_as_many_rounds_as_are_known_of_meet_the_same_actor() -> None:
    backend = rounds.RoundsPipeline(direct, lambda count: 4, rounds=4)
    try:
        found = [answers(backend, requests(count, attempt=place)) for place, count in enumerate((22, 1, 9))]
    finally:
        backend.close()  # also of a round that never came
    for place, count in enumerate((22, 1, 9)):
        assert sorted(row["key"] for row in found[place]) == sorted(each.key for each in requests(count, attempt=place))
    assert len({row["pid"] for rows in found for row in rows}) == 1
    assert not backend._reader.is_alive()


def test_a_single_round_has_no_gate() -> None:
    backend = rounds.RoundsPipeline(direct, lambda count: 4, rounds=1)
    try:
        found = [answers(backend, requests(count)) for count in (5, 3)]
    finally:
        backend.close()
    assert [len(rows) for rows in found] == [5, 3]


def test_a_third_round_is_answered_too() -> None:
    # Where an actor was lost with what it asked by itself, the driver asks for that in a round of its own.
    backend = rounds.RoundsPipeline(pipeline, lambda count: 4)
    try:
        found = [answers(backend, requests(count, attempt=place)) for place, count in enumerate((6, 3, 5))]
    finally:
        backend.close()
    for place, count in enumerate((6, 3, 5)):
        assert sorted(row["key"] for row in found[place]) == sorted(each.key for each in requests(count, attempt=place))


def test_a_session_may_end_after_one_round_or_in_the_middle() -> None:
    for pieces in (None, 1):
        backend = rounds.RoundsPipeline(pipeline, lambda count: 4)
        found = 0
        for piece in backend(requests(40)):
            found += len(piece)
            if pieces:
                break
        backend.close()
        assert found == 40 if pieces is None else 0 < found < 40
        assert not backend._reader.is_alive()


def test_a_job_that_cannot_go_on_ends_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_CHECK_EVERY_S", 0.2)

    def check(idle_s: float) -> None:
        if idle_s > 1:
            raise UserError("a node is lost")

    backend = rounds.RoundsPipeline(pipeline, lambda count: 4, check)
    try:
        with pytest.raises(UserError, match="a node is lost"):
            answers(backend, requests(1, key="hang"))
    finally:
        backend.close()
    assert not backend._reader.is_alive()


class Stuck(Echo):
    """Stands still at its second batch, unless another one did."""

    def __init__(self, mark: str) -> None:
        self._mark, self._batches = Path(mark), 0

    def __call__(self, batch: pa.Table) -> pa.Table:
        self._batches += 1
        if self._batches == 2 and not self._mark.exists():
            self._mark.touch()
            time.sleep(120)  # then all is answered by one actor, which the test refuses
        return super().__call__(batch)


@pytest.mark.parametrize("second", [0, 6])
def test_a_pipeline_that_stands_still_after_a_loss_starts_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, second: int
) -> None:
    monkeypatch.setattr(rounds, "_CHECK_EVERY_S", 0.2)
    mark = tmp_path / "mark"
    monkeypatch.setattr(rounds, "_living_nodes", lambda: {"a"} if mark.exists() else {"a", "b"})

    def stuck(asked: ray.data.Dataset, size: int) -> ray.data.Dataset:
        pool = ray.data.ActorPoolStrategy(size=1)
        arguments = {"mark": str(mark)}
        return asked.map_batches(
            Stuck, batch_size=size, batch_format="pyarrow", compute=pool, num_cpus=0.1, fn_constructor_kwargs=arguments
        )

    backend = rounds.RoundsPipeline(stuck, lambda count: 4, patience_s=3)
    try:
        # In the second case the first batch is the whole first round, and the second round stands still.
        asked = [requests(4), requests(second, attempt=1)] if second else [requests(12), []]
        rows = [answers(backend, each) for each in asked]
    finally:
        backend.close()
    for each, found in zip(asked, rows, strict=True):
        assert sorted(row["key"] for row in found) == sorted(request.key for request in each)
    assert len({row["pid"] for row in rows[0] + rows[1]}) == 2
    assert not backend._reader.is_alive()


def test_a_lost_gpu_is_waited_for_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    config = QueriesConfig(llm=LlmConfig(replicas=2, node_wait_s=60))
    nodes = [NodeSize(8, 1)]
    monkeypatch.setattr(llm, "cluster_nodes", lambda: nodes)
    monkeypatch.setattr(llm, "cluster_gpus", lambda: 1)
    check = llm.gpu_check(config.llm)
    check(59)
    with pytest.raises(UserError, match=r"1 GPU\(s\) hold 1 of 2 engine\(s\)"):
        check(61)
    nodes.append(NodeSize(8, 1))
    check(61)
