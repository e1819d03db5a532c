"""Requests in two rounds through one Ray Data pipeline: the second round meets the actors that the first one started.

The pipeline reads the first round and then a gate, tasks that wait for the second round. So rejected queries are asked
for anew without engines that start anew, and limits that an actor keeps hold for both rounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import ray

from patent_embed.config.queries import QueriesConfig
from patent_embed.errors import UserError
from patent_embed.queries.asking import Patent, Request
from patent_embed.queries.styles import Style
from pipelines.resources import here

log = logging.getLogger("patent_embed")
_STYLE = ("persona", "difficulty", "view")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("key", "number", "title", "abstract", "language", "kind")]
    + [(name, pa.int64()) for name in ("query_no", "attempt", "seed")]
    + [("longer", pa.bool_())]
    + [(name, pa.string()) for name in _STYLE]
)
_MAX_PARTS = 32  # blocks of the second round
_CHECK_EVERY_S = 10.0


@ray.remote(num_cpus=0)
class _Mailbox:
    """Holds the second round until the gate takes it; the gate may be run again on another node."""

    def __init__(self) -> None:
        self._known = asyncio.Event()
        self._rows: Any = None

    async def put(self, rows: pa.Table) -> None:
        self._rows = rows
        self._known.set()

    async def take(self) -> pa.Table:
        await self._known.wait()
        return self._rows


class _Stalled(Exception):
    """A node is lost, and no answer came since."""


class TwoRoundPipeline:
    """A backend for ``write_queries``; it yields the answer rows of ``pipeline`` as they come.

    The first two rounds are of one pipeline. A third one, for what an actor that is lost had asked by itself, starts
    another.

    Ray Data makes up for a lost node by itself, but not every time: a block that it makes again may never arrive
    (ray-project/ray#62535, #64394, #64581). A pipeline that stands still after such a loss is started anew with what
    is missing.

    Args:
        pipeline: from a dataset of requests (blocks as ``requests_in`` reads them) and a number of rows to a dataset
            with a row for each request, with its ``key``, and any rows beside. No block of the first round is smaller
            than that number: an operator that gathers so many rows keeps none of them waiting for the second round.
        batch_size: from the number of requests to rows a block.
        check: called every few seconds with the seconds since the last answer; raises UserError when none can come.
        patience_s: how long no answer may come after a node is lost.
    """

    def __init__(
        self,
        pipeline: Callable[[ray.data.Dataset, int], ray.data.Dataset],
        batch_size: Callable[[int], int],
        check: Callable[[float], None] = lambda idle_s: None,
        patience_s: float = 600,
    ) -> None:
        self._pipeline, self._batch_size, self._check, self._patience_s = pipeline, batch_size, check, patience_s
        self._reader: threading.Thread | None = None
        self._lost_at: float | None = None
        self._closed = self._ended = self._second = False

    def __call__(self, requests: Sequence[Request]) -> Iterator[pa.Table]:
        """The answers to a round of requests, as they come."""
        rows = _table(requests)
        if self._reader is None:
            self._start(rows)
        elif self._ended or self._second:  # what was asked at once by an actor that is lost, is asked by another one
            self._reader.join()
            self._start(rows)
        else:
            self._second = True
            ray.get(self._mailbox.put.remote(rows))
        missing = dict.fromkeys(rows["key"].to_pylist())
        while missing:
            try:
                piece = self._next()
            except _Stalled:
                log.warning("a node is lost and no answer came since: %d requests are sent anew", len(missing))
                self._abandon()
                self._start(rows.filter(pc.is_in(rows["key"], pa.array(list(missing)))))
                continue
            if piece is None:  # the caller counts what is missing
                self._ended = True
                return
            for key in piece["key"].to_pylist():
                missing.pop(key, None)
            yield piece

    def close(self) -> None:
        """End the pipeline and its actors, also in the middle: what is under way then is not waited for."""
        if self._reader is None:
            return
        self._closed = True
        if self._reader.is_alive():
            with contextlib.suppress(ray.exceptions.RayError):
                ray.get(self._mailbox.put.remote(_SCHEMA.empty_table()))
            self._reader.join(timeout=30)
        ray.kill(self._mailbox)

    def _start(self, rows: pa.Table) -> None:
        wanted = min(self._batch_size(len(rows)), len(rows))
        size = len(rows) // (len(rows) // wanted)
        cuts = list(range(0, len(rows) - size + 1, size))
        blocks = [rows.slice(cut, None if cut == cuts[-1] else size) for cut in cuts]
        self._mailbox = mailbox = cast(Any, _Mailbox).options(scheduling_strategy=here()).remote()

        parts = min(len(blocks), _MAX_PARTS)

        def gate(part: pa.Table) -> pa.Table:
            retries, place = ray.get(mailbox.take.remote()), part["item"][0].as_py()
            # Few requests fill the first parts, so that nobody waits for the tasks of the others.
            used = min(parts, -(-len(retries) // size))
            begin, end = (len(retries) * min(each, used) // max(used, 1) for each in (place, place + 1))
            return retries.slice(begin, end - begin)

        second = ray.data.from_items(list(range(parts)), override_num_blocks=parts).map_batches(
            gate, batch_format="pyarrow", batch_size=None, num_cpus=0.01, compute=ray.data.TaskPoolStrategy(size=2)
        )
        self._nodes, self._lost_at = _living_nodes(), None
        self._ended = self._second = False
        self._answers = self._pipeline(ray.data.from_arrow(blocks).union(second), size)
        self._arrived: queue.Queue[pa.Table | BaseException | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._answers, self._arrived), daemon=True)
        self._reader.start()

    def _abandon(self) -> None:
        """End a pipeline that stands still. What it may still say is not heard."""
        executor = self._answers._current_executor  # noqa: SLF001  # no public way ends an execution whose reader waits
        if executor is None:
            raise UserError(
                "a node is lost, and the pipeline that was starting there stands still: answers are kept, and the same "
                "command goes on"
            )
        executor.shutdown(force=True)
        ray.kill(self._mailbox)

    def _read(self, answers: ray.data.Dataset, arrived: queue.Queue[pa.Table | BaseException | None]) -> None:
        try:
            # Without prefetching, which holds a block back until the next one is there.
            for piece in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                arrived.put(piece)
                if self._closed:
                    return
        except BaseException as error:  # noqa: BLE001  # raised where the answers are read
            arrived.put(error)
        else:
            arrived.put(None)

    def _next(self) -> pa.Table | None:
        last = time.monotonic()
        while True:
            try:
                piece = self._arrived.get(timeout=_CHECK_EVERY_S)
            except queue.Empty:
                now = time.monotonic()
                self._check(now - last)
                if self._lost_at is None and not self._nodes <= _living_nodes():
                    self._lost_at = now
                if self._lost_at is not None and now - max(last, self._lost_at) > self._patience_s:
                    raise _Stalled from None
                continue
            if isinstance(piece, BaseException):
                raise piece
            return piece


def _living_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _table(requests: Sequence[Request]) -> pa.Table:
    rows = [
        {name: getattr(each, name) for name in ("key", "kind", "query_no", "attempt", "seed", "longer")}
        | asdict(each.patent)
        | asdict(each.style)
        for each in requests
    ]
    return pa.Table.from_pylist(rows, schema=_SCHEMA)


def requests_in(table: pa.Table) -> list[Request]:
    """The requests in a block that a ``pipeline`` is given."""
    found = []
    for row in table.select(_SCHEMA.names).to_pylist():
        patent = Patent(**{name: row.pop(name) for name in ("number", "title", "abstract", "language")})
        style = Style(**{name: row.pop(name) for name in _STYLE})
        found.append(Request(patent, **row, style=style))
    return found


def without_key(config: QueriesConfig) -> QueriesConfig:
    """Settings as a worker may have them in its arguments, which Ray logs: without the key."""
    return config.model_copy(update={"api": config.api.model_copy(update={"key": None})})
