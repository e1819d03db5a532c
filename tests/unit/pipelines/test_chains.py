"""Blocks whose answers lead to further requests: first answers at once, the others with a later block, none lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from patent_embed.queries.asking import Patent, Request
from patent_embed.queries.store import Answer
from pipelines.backends.chains import Chains


def request(name: str) -> Request:
    return Request(Patent(name, "", "", "zh"), 0, "claim", 0, name, 1)


def test_a_block_is_done_with_its_first_answers_while_another_is_at_work() -> None:
    async def run() -> None:
        slow, other = asyncio.Event(), asyncio.Event()

        async def chain(first: Request) -> AsyncIterator[Answer]:
            if first.key == "b":
                await other.wait()
            yield Answer(first.key)
            if first.key == "a":
                await slow.wait()
                yield Answer("a again")

        chains = Chains(chain)
        second = asyncio.create_task(chains.block([request("b")]))
        await asyncio.sleep(0)
        assert [answer.key for answer in await chains.block([request("a"), request("c")])] == ["a", "c"]
        other.set()
        await asyncio.sleep(0.01)
        assert not second.done()  # it is the last one: nobody else would bring what is to come
        slow.set()
        assert [answer.key for answer in await second] == ["b", "a again"]

    asyncio.run(run())


@pytest.mark.parametrize("seed", range(5))
def test_every_answer_comes_once_whatever_the_order(seed: int) -> None:
    draw = random.Random(seed)

    async def chain(first: Request) -> AsyncIterator[Answer]:
        for number in range(int(first.key) % 3 + 1):
            await asyncio.sleep(draw.random() * 0.01)
            yield Answer(f"{first.key}/{number}")

    async def run() -> list[str]:
        chains, slots = Chains(chain), asyncio.Semaphore(3)

        async def one(names: list[str]) -> list[Answer]:
            async with slots:
                return await chains.block([request(name) for name in names])

        blocks = [[str(10 * block + place) for place in range(10)] for block in range(12)]
        return [answer.key for piece in await asyncio.gather(*map(one, blocks)) for answer in piece]

    found = asyncio.run(run())
    assert sorted(found) == sorted(f"{name}/{number}" for name in range(120) for number in range(name % 3 + 1))


def test_what_goes_wrong_is_the_blocks_own() -> None:
    async def chain(first: Request) -> AsyncIterator[Answer]:
        raise ValueError(first.key)
        yield Answer("")

    with pytest.raises(ValueError, match="a"):
        asyncio.run(Chains(chain).block([request("a")]))
