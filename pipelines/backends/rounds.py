"""Requests in rounds through one Ray Data pipeline: later rounds meet the actors that the first one started.

The pipeline reads the first round and then gates, tasks that each wait for a further round. So rejected queries are
asked for anew, and what a judge is asked follows, without engines that start anew; and limits that an actor keeps hold
for all rounds.
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

from patent_embed.errors import UserError
from patent_embed.queries.asking import Patent, Request
from patent_embed.queries.styles import Style
from pipelines.resources import here

log = logging.getLogger("patent_embed")
_STYLE = ("persona", "difficulty", "view")
_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("key", "number", "title", "abstract", "language", "kind", "graded")]
    + [(name, pa.int64()) for name in ("query_no", "attempt", "seed")]
    + [("longer", pa.bool_())]
    + [(name, pa.string()) for name in _STYLE]
)
_MAX_PARTS = 32  # blocks of a further round
_CHECK_EVERY_S = 10.0


@ray.remote(num_cpus=0)
class _Mailbox:
    """Holds a further round until its gate takes it; the gate may be run again on another node."""

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


class RoundsPipeline:
    """A backend for ``collect``; it yields the answer rows of ``pipeline`` as they come.

    The first ``rounds`` rounds are of one pipeline. A further one, for what an actor that is lost had asked by itself,
    starts another.

    Ray Data makes up for a lost node by itself, but not every time: a block that it makes again may never arrive
    (ray-project/ray#62535, #64394, #64581). A pipeline that stands still after such a loss is started anew with what
    is missing.

    Args:
        pipeline: from a dataset of requests (blocks as ``requests_in`` reads them) and a number of rows to a dataset
            with a row for each request, with its ``key``, and any rows beside. No block of the first round is smaller
            than that number: an operator that gathers so many rows keeps none of them waiting for the next round.
            Between further rounds it would: with more than two, blocks are to be handed on as they come.
        batch_size: from the number of requests to rows a block.
        check: called every few seconds with the seconds since the last answer; raises UserError when none can come.
        patience_s: how long no answer may come after a node is lost.
        rounds: at least 1.
    """

    def __init__(
        self,
        pipeline: Callable[[ray.data.Dataset, int], ray.data.Dataset],
        batch_size: Callable[[int], int],
        check: Callable[[float], None] = lambda idle_s: None,
        patience_s: float = 600,
        rounds: int = 2,
    ) -> None:
        self._pipeline, self._batch_size, self._check, self._patience_s = pipeline, batch_size, check, patience_s
        self._reader: threading.Thread | None = None
        self._lost_at: float | None = None
        self._closed = self._ended = False
        self._rounds = rounds
        self._mailboxes = list[Any]()  # of the rounds that are to come

    def __call__(self, requests: Sequence[Request]) -> Iterator[pa.Table]:
        """The answers to a round of requests, as they come."""
        rows = _table(requests)
        if self._reader is None:
            self._start(rows)
        elif self._ended or not self._mailboxes:  # what an actor that is lost asked at once, is asked by another one
            self._leave()
            self._reader.join()
            self._start(rows)
        else:
            ray.get(self._mailboxes.pop(0).put.remote(rows))
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
            self._leave()
            self._reader.join(timeout=30)
        self._forget()

    def _leave(self) -> None:
        """Let the gates of rounds go that never come."""
        with contextlib.suppress(ray.exceptions.RayError):
            ray.get([mailbox.put.remote(_SCHEMA.empty_table()) for mailbox in self._mailboxes])
        self._mailboxes.clear()

    def _forget(self) -> None:
        """End all mailboxes of a pipeline."""
        for mailbox in self._all:
            ray.kill(mailbox)

    def _start(self, rows: pa.Table) -> None:
        wanted = min(self._batch_size(len(rows)), len(rows))
        size = len(rows) // (len(rows) // wanted)
        cuts = list(range(0, len(rows) - size + 1, size))
        blocks = [rows.slice(cut, None if cut == cuts[-1] else size) for cut in cuts]
        self._all = [self._mailbox() for _ in range(self._rounds - 1)]
        self._mailboxes = list(self._all)
        gates = [_gate(mailbox, min(len(blocks), _MAX_PARTS), size) for mailbox in self._all]
        asked = ray.data.from_arrow(blocks)
        self._nodes, self._lost_at = _living_nodes(), None
        self._ended = False
        self._answers = self._pipeline(asked.union(*gates) if gates else asked, size)
        self._arrived: queue.Queue[pa.Table | BaseException | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._answers, self._arrived), daemon=True)
        self._reader.start()

    @staticmethod
    def _mailbox() -> Any:
        return cast(Any, _Mailbox).options(scheduling_strategy=here()).remote()

    def _abandon(self) -> None:
        """End a pipeline that stands still. What it may still say is not heard."""
        executor = self._answers._current_executor  # noqa: SLF001  # no public way ends an execution whose reader waits
        if executor is None:
            raise UserError(
                "a node is lost, and the pipeline that was starting there stands still: answers are kept, and the same "
                "command goes on"
            )
        executor.shutdown(force=True)
        self._forget()

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


def _gate(mailbox: Any, parts: int, size: int) -> ray.data.Dataset:
    """The requests that ``mailbox`` is given, in at most ``parts`` blocks of about ``size``, when they are there."""

    def gate(part: pa.Table) -> pa.Table:
        found, place = ray.get(mailbox.take.remote()), part["item"][0].as_py()
        # Few requests fill the first parts, so that nobody waits for the tasks of the others.
        used = min(parts, -(-len(found) // size))
        begin, end = (len(found) * min(each, used) // max(used, 1) for each in (place, place + 1))
        return found.slice(begin, end - begin)

    return ray.data.from_items(list(range(parts)), override_num_blocks=parts).map_batches(
        gate, batch_format="pyarrow", batch_size=None, num_cpus=0.01, compute=ray.data.TaskPoolStrategy(size=2)
    )


def _living_nodes() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def _table(requests: Sequence[Request]) -> pa.Table:
    rows = [
        {name: getattr(each, name) for name in ("key", "kind", "query_no", "attempt", "seed", "longer", "graded")}
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
