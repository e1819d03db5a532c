"""Queries from an OpenAI-compatible endpoint: an asynchronous Ray Data UDF that loses no row and no money.

The key reaches the worker through a KeyHolder actor. So it is in no task argument, no runtime environment and no plan
that Ray logs, and what the worker writes about an error is redacted.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import ray
from pydantic import SecretStr

from patent_embed.config.queries import ApiConfig, QueriesConfig
from patent_embed.errors import UserError
from patent_embed.queries.answers import read_answer, retry_after
from patent_embed.queries.prompts import chat_messages
from patent_embed.queries.store import Answer
from patent_embed.queries.writing import Backend, Request
from pipelines.backends.rounds import TwoRoundPipeline
from pipelines.resources import here

_RETRIED = frozenset({408, 409, 429})
# Errors after which no other request would fare better; the driver stops when it sees one.
_FATAL = ("unauthorized", "unreachable")
_UNREACHABLE_AFTER = 50  # failures in a row, with no answer before them


@ray.remote(num_cpus=0)
class KeyHolder:
    """Holds the API key in memory."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key

    def get(self) -> SecretStr:
        """The key."""
        return self._key


class Pace:
    """Starts at most ``per_minute`` requests a minute, evenly; and none before a time the endpoint asked for."""

    def __init__(self, per_minute: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._clock = clock
        self._next = 0.0

    async def turn(self) -> None:
        """Wait until the next request may start."""
        start = max(self._clock(), self._next)
        self._next = start + self._interval
        await asyncio.sleep(start - self._clock())

    def hold(self, seconds: float) -> None:
        """Start none for so many seconds."""
        self._next = max(self._next, self._clock() + seconds)


class AskApi:
    """Ray Data UDF: a batch of requests (see ``rounds``) to a batch of answers, one for each.

    A request that fails is an answer with an error: ``http_<status>``, ``timeout``, ``connection``, ``malformed``,
    ``no_choices``, ``empty_answer``, ``token_cap``, ``unauthorized``, ``unreachable``.
    """

    def __init__(self, config: QueriesConfig, keys: Any) -> None:
        import openai

        self._openai = openai
        self._config, self._api = config, config.api
        self._key: SecretStr = ray.get(keys.get.remote())
        self._client = openai.AsyncOpenAI(
            api_key=self._key.get_secret_value(),
            base_url=self._api.base_url,
            timeout=self._api.timeout_s,
            max_retries=0,  # the retries are ours: counted, paced, and with Retry-After
        )
        self._slots = asyncio.Semaphore(self._api.requests_in_flight)
        self._pace = Pace(self._api.requests_per_minute)
        self._tokens = 0
        self._answered = False
        self._failed_in_a_row = 0
        self._fatal = ""

    async def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ask for all of a batch at once, within the limits."""
        names = ("key", "title", "abstract", "kind", "language", "seed")
        rows = zip(*(batch[name].tolist() for name in names), strict=True)
        limit = self._config.max_prompt_chars
        answers = await asyncio.gather(
            *(
                self._ask(key, chat_messages(title, abstract, kind, language, limit), seed)
                for key, title, abstract, kind, language, seed in rows
            )
        )
        return {
            "key": np.array([answer.key for answer in answers], dtype=object),
            "text": np.array([answer.text for answer in answers], dtype=object),
            "error": np.array([answer.error for answer in answers], dtype=object),
            "prompt_tokens": np.array([answer.prompt_tokens for answer in answers], dtype=np.int64),
            "output_tokens": np.array([answer.output_tokens for answer in answers], dtype=np.int64),
        }

    async def _ask(self, key: str, messages: list[dict[str, str]], seed: int) -> Answer:
        async with self._slots:
            answer, spent = Answer(key, error="connection"), Counter[str]()
            for attempt in range(self._api.retries + 1):
                if self._fatal:
                    answer = Answer(key, error=self._fatal)
                    break
                if self._api.max_total_tokens is not None and self._tokens >= self._api.max_total_tokens:
                    answer = Answer(key, error="token_cap")
                    break
                await self._pace.turn()
                answer, wait = await self._try(key, messages, seed, attempt)
                spent.update(prompt=answer.prompt_tokens, output=answer.output_tokens)
                if wait is None:
                    break
                if attempt < self._api.retries:
                    await asyncio.sleep(wait)
            self._note(answer)
            return replace(answer, prompt_tokens=spent["prompt"], output_tokens=spent["output"])

    async def _try(self, key: str, messages: Any, seed: int, attempt: int) -> tuple[Answer, float | None]:
        """One request: the answer, and the pause before the next try, None when there should be none."""
        # Doubling pauses with jitter, so that requests that failed together do not come back together.
        wait = min(self._api.max_wait_s, 0.5 * 2**attempt) * random.uniform(0.5, 1.5)
        openai = self._openai
        try:
            # The client's own limit is for each read: a server that sends a byte now and then would never meet it.
            async with asyncio.timeout(self._api.timeout_s):
                response = await self._client.chat.completions.create(
                    model=self._api.model or self._config.llm.model,
                    messages=messages,
                    temperature=self._config.temperature,
                    top_p=self._config.top_p,
                    max_tokens=self._config.max_tokens,
                    seed=seed,
                )
        except (openai.APITimeoutError, TimeoutError):
            return Answer(key, error="timeout"), wait
        except openai.APIConnectionError:
            return Answer(key, error="connection"), wait
        except openai.APIStatusError as error:
            status = error.status_code
            if status in (401, 403):
                self._fatal = "unauthorized"
                return Answer(key, error="unauthorized"), None
            failed = Answer(key, error=f"http_{status}")
            if status not in _RETRIED and status < 500:
                return failed, None
            asked = retry_after(error.response.headers.get("retry-after"))
            if asked is not None:
                wait = min(max(wait, asked), self._api.max_wait_s)
                self._pace.hold(min(asked, self._api.max_wait_s))
            return failed, wait
        # No JSON, other JSON, JSON that is nested too deeply: what others send costs one request, not the run.
        except Exception:  # noqa: BLE001
            return Answer(key, error="malformed"), wait
        answer = read_answer(key, response)
        self._tokens += answer.prompt_tokens + answer.output_tokens
        return answer, wait if answer.error else None

    def _note(self, answer: Answer) -> None:
        """Give up on an endpoint that never answered anything."""
        if not answer.error:
            self._answered = True
        elif not self._answered and answer.error in ("connection", "timeout"):
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= _UNREACHABLE_AFTER:
                self._fatal = "unreachable"


@contextlib.contextmanager
def api_backend(config: QueriesConfig) -> Iterator[Backend]:
    """A backend for ``write_queries``. Raises UserError when there is no key or no client."""
    api = config.api
    if api.key is None or not api.key.get_secret_value().strip():
        raise UserError(
            "query backend 'api' has no API key; set OPENAI_API_KEY or --llm_api_key (any word for an "
            "endpoint that wants none)"
        )
    try:
        import openai  # noqa: F401
    except ImportError:
        raise UserError("query backend 'api' needs the openai package: pip install 'patent-embed[api]'") from None
    secret = SecretStr(api.key.get_secret_value().strip())
    public = config.model_copy(update={"api": api.model_copy(update={"key": None})})

    keys = cast(Any, KeyHolder).options(scheduling_strategy=here()).remote(secret)

    def pipeline(requests: ray.data.Dataset, size: int) -> ray.data.Dataset:
        at_once = -(-api.requests_in_flight // size) + 1
        return requests.map_batches(
            AskApi,
            batch_size=None,
            fn_constructor_kwargs={"config": public, "keys": keys},
            # One worker keeps all requests in flight: limits then hold for the whole job.
            compute=ray.data.ActorPoolStrategy(
                size=1, max_tasks_in_flight_per_actor=at_once, max_concurrent_calls_per_actor=at_once
            ),
            num_cpus=0.1,
        )

    # Small pieces for small jobs, so that a killed run has lost little.
    rounds = TwoRoundPipeline(pipeline, lambda requests: min(256, max(4, requests // 200)))

    def ask(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        for piece in rounds(requests):
            found = [Answer(**row) for row in piece.to_pylist()]
            for error in _FATAL:
                if any(answer.error == error for answer in found):
                    raise UserError(_fatal_message(error, api))
            yield found

    try:
        yield ask
    finally:
        rounds.close()
        ray.kill(keys)


def _fatal_message(error: str, api: ApiConfig) -> str:
    where = api.base_url or "the default endpoint"
    if error == "unauthorized":
        return f"{where} refused the API key (401 or 403); set OPENAI_API_KEY or --llm_api_key to a valid one"
    return f"{where} did not answer {_UNREACHABLE_AFTER} requests in a row; check --llm_base_url and the network"
