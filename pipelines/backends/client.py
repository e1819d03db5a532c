"""One endpoint's client: requests in, answers out, with every limit, pause and second try; nothing of Ray in it.

No row is lost and nothing is paid for twice: whatever an endpoint does with a request, it has an answer or an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from pydantic import SecretStr

from patent_embed.queries.answers import read_answer, retry_after
from patent_embed.queries.asking import Asks, Request, room
from patent_embed.queries.endpoint import error_of, read_body, refusal, words_of
from patent_embed.queries.parameters import Parameters
from patent_embed.queries.store import Answer

# Errors after which no other request would fare better.
FATAL = ("unauthorized", "quota", "no_model", "not_there", "forbidden", "unreachable")
UNREACHABLE_AFTER = 50  # failures in a row, with no answer before them
_FORBIDDEN_AFTER = 20  # the same of 403: an endpoint flags a text now and then, but not every one


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


class Client:
    """Asks one endpoint.

    The first request goes alone: what the endpoint says to it about parameters, model and key is known before others
    are sent. A request that fails is an answer with an error: ``http_<status>``, ``error_body``, ``timeout``,
    ``connection``, ``malformed``, ``token_cap``, those of ``read_answer``, and of ``FATAL``. ``words`` is what the
    endpoint said with the first error of each kind, and about parameters that it does not take; ``parameters`` is what
    is sent since.
    """

    def __init__(self, asking: Asks, key: SecretStr) -> None:
        import openai

        self._openai = openai
        self._asking, self._config, self._api = asking, asking.config, asking.config.api
        self._key = key
        self._client = openai.AsyncOpenAI(
            api_key=self._key.get_secret_value(),
            base_url=self._api.base_url,
            timeout=self._api.timeout_s,
            max_retries=0,  # the retries are ours: counted, paced, and with Retry-After
        )
        self.parameters = Parameters(self._config)
        self._slots = asyncio.Semaphore(self._api.requests_in_flight)
        self._pace = Pace(self._api.requests_per_minute)
        self._first, self._tried = asyncio.Lock(), False
        self._tokens = 0
        self._answered = False
        self._in_a_row = Counter[str]()
        self._fatal = ""
        self.words: dict[str, str] = {}

    async def chain(self, first: Request) -> list[Answer]:
        """The answer to a request, and to each that follows from the one before."""
        found: list[Answer] = []
        request: Request | None = first
        async with self._slots:
            while request is not None:
                found.append(await self._ask(request))
                request = self._asking.after(request, self._asking.verdict(request, found[-1]))
        return found

    async def _ask(self, request: Request) -> Answer:
        answer, spent, attempt = Answer(request.key, error="connection"), Counter[str](), 0
        while attempt <= self._api.retries:
            if self._fatal:
                answer = Answer(request.key, error=self._fatal)
                break
            if self._api.max_total_tokens is not None and self._tokens >= self._api.max_total_tokens:
                answer = Answer(request.key, error="token_cap")
                break
            version = self.parameters.version
            answer, wait = await self._in_turn(request, attempt)
            spent.update(prompt=answer.prompt_tokens, output=answer.output_tokens)
            if answer.error and version != self.parameters.version:
                continue  # it was sent as the endpoint does not want it; bounded by the number of parameters
            if wait is None:
                break
            attempt += 1
            if attempt <= self._api.retries:
                await asyncio.sleep(wait)
        self._note(answer)
        return replace(answer, prompt_tokens=spent["prompt"], output_tokens=spent["output"])

    async def _in_turn(self, request: Request, attempt: int) -> tuple[Answer, float | None]:
        """``_try``, alone as long as nothing is known of the endpoint."""
        async with contextlib.AsyncExitStack() as stack:
            if not self._tried:
                await stack.enter_async_context(self._first)
                if self._fatal:
                    return Answer(request.key, error=self._fatal), None
            if self._tried:
                await stack.aclose()
            await self._pace.turn()
            version = self.parameters.version
            answer, wait = await self._try(request, attempt)
            self._tried = self._tried or version == self.parameters.version
            return answer, wait

    async def _try(self, request: Request, attempt: int) -> tuple[Answer, float | None]:
        """One request: the answer, and the pause before the next try, None when there should be none."""
        # Doubling pauses with jitter, so that requests that failed together do not come back together.
        wait = min(self._api.max_wait_s, 0.5 * 2**attempt) * random.uniform(0.5, 1.5)
        key, version = request.key, self.parameters.version
        tokens, form = room(self._config, longer=request.longer), self._asking.form(request)
        parameters = self.parameters.body(request.seed, tokens, form.drawn)
        messages = self._asking.messages(request)
        model = self._api.model or self._config.llm.model
        try:
            # The client's own limit is for each read: a server that sends a byte now and then would never meet it.
            async with asyncio.timeout(self._api.timeout_s):
                # All parameters in the body as it is sent, and the response as it came: both are read here.
                response = await self._client.chat.completions.with_raw_response.create(
                    model=model, messages=cast(Any, messages), extra_body=parameters
                )
        except (self._openai.APITimeoutError, TimeoutError):
            return Answer(key, error="timeout"), wait
        except self._openai.APIConnectionError as error:
            return self._failed(key, "connection", repr(error.__cause__ or error).encode()), wait
        except self._openai.APIStatusError as error:
            return self._refused(key, error.response, wait, version)
        # What others send costs one request, not the run.
        except Exception as error:  # noqa: BLE001
            return self._failed(key, "malformed", repr(error).encode()), wait
        content = response.http_response.content
        body = read_body(content)
        if body is None or error_of(body) is not None:
            return self._refused(key, response.http_response, wait, version)
        answer = read_answer(key, body)
        self._tokens += answer.prompt_tokens + answer.output_tokens
        if answer.error in ("malformed", "no_choices"):
            self._failed(key, answer.error, content)
        return answer, wait if answer.error in ("malformed", "no_choices", "empty_answer") else None

    def _refused(self, key: str, response: Any, wait: float, version: int) -> tuple[Answer, float | None]:
        """What a response without an answer means for this request, and for all others."""
        content = response.content
        found = refusal(response.status_code, content, self._key.get_secret_value())
        if found is None:  # an error of HTTP with the body of an answer
            return self._failed(key, f"http_{response.status_code}", content), None
        error = found.fatal or found.error
        self.words.setdefault(error, found.words)
        if found.fatal:
            self._fatal = found.fatal
        elif found.error in ("http_400", "http_422", "error_body") and version == self.parameters.version:
            told = content[:20_000].decode(errors="replace")
            if change := self.parameters.adapt(told):
                self.words[f"parameter {self.parameters.version}"] = f"{found.words!r}, so {change}"
        asked = retry_after(response.headers.get("retry-after"))
        if found.retried and asked is not None:
            wait = min(max(wait, asked), self._api.max_wait_s)
            self._pace.hold(min(asked, self._api.max_wait_s))
        return Answer(key, error=error), wait if found.retried else None

    def _failed(self, key: str, error: str, content: bytes) -> Answer:
        self.words.setdefault(error, words_of(content, self._key.get_secret_value()))
        return Answer(key, error=error)

    def _note(self, answer: Answer) -> None:
        """Give up on an endpoint that never answered anything."""
        if not answer.error or answer.output_tokens:
            self._answered = True
        elif not self._answered and answer.error not in FATAL:
            self._in_a_row[answer.error] += 1
            if self._in_a_row["http_403"] >= _FORBIDDEN_AFTER:
                self._fatal = "forbidden"
                self.words.setdefault("forbidden", self.words.get("http_403", ""))
            elif self._in_a_row["connection"] + self._in_a_row["timeout"] >= UNREACHABLE_AFTER:
                self._fatal = "unreachable"
                self.words.setdefault("unreachable", self.words.get("connection", ""))
