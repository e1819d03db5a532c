"""Blocks of requests whose answers lead to further requests: none waits for a second answer while others are at work.

An engine takes so many blocks at a time. A block that waited for each answer that is asked for again would keep its
place for twice as long, or for ten times where an answer needs more room, with next to nothing to do. So a block is
done with its first answers, and the others go with whichever block is done after them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from patent_embed.queries.asking import Request
from patent_embed.queries.store import Answer


@dataclass
class _Block:
    more: list[Answer] = field(default_factory=list)  # answers after the first ones
    gone: bool = False


class Chains:
    """Runs ``chain``, which gives the answer to a request and to each that follows from it, for blocks of requests.

    As long as answers are to come, there is a block that waits for them: the last one that is at work.
    """

    def __init__(self, chain: Callable[[Request], AsyncIterator[Answer]]) -> None:
        self._chain = chain
        self._at_work = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._late: list[Answer] = []  # of blocks that are gone

    async def block(self, requests: Sequence[Request]) -> list[Answer]:
        """The first answers to ``requests``, and all others that have come, also those of earlier blocks."""
        loop, mine = asyncio.get_running_loop(), _Block()
        firsts: list[asyncio.Future[Answer]] = [loop.create_future() for _ in requests]
        for request, first in zip(requests, firsts, strict=True):
            task = loop.create_task(self._run(request, mine, first))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._at_work += 1
        try:
            found = list(await asyncio.gather(*firsts))
            while self._at_work == 1 and self._tasks:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._at_work -= 1
        mine.gone = True
        late, self._late = self._late, []
        return found + mine.more + late

    async def _run(self, request: Request, block: _Block, first: asyncio.Future[Answer]) -> None:
        try:
            async for answer in self._chain(request):
                if not first.done():
                    first.set_result(answer)
                else:
                    (self._late if block.gone else block.more).append(answer)
        except BaseException as error:
            if first.done():  # the request that followed has no answer then, which the driver counts
                raise
            first.set_exception(error)
