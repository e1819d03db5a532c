"""Queries from an OpenAI-compatible endpoint: an asynchronous Ray Data UDF that loses no row and no money.

The key reaches the worker through a KeyHolder actor. So it is in no task argument, no runtime environment and no plan
that Ray logs, and what the worker writes about an error is redacted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, cast

import pyarrow as pa
import ray
from pydantic import SecretStr

from patent_embed.config.queries import ApiConfig
from patent_embed.errors import UserError
from patent_embed.queries.asking import Asks, Request
from patent_embed.queries.collecting import Backend
from patent_embed.queries.store import SCHEMA, Answer
from pipelines.backends.client import FATAL, UNREACHABLE_AFTER, Client
from pipelines.backends.rounds import RoundsPipeline, requests_in
from pipelines.resources import here

log = logging.getLogger("patent_embed")
# Beside the answers, in the first row of a block: what the endpoint said since the last one, as "what: words".
_ANSWERS = SCHEMA.append(pa.field("said", pa.list_(pa.string())))


@ray.remote(num_cpus=0)
class KeyHolder:
    """Holds the API key in memory."""

    def __init__(self, key: SecretStr) -> None:
        self._key = key

    def get(self) -> SecretStr:
        """The key."""
        return self._key


class AskApi:
    """Ray Data UDF: a block of requests (see ``rounds``) to their answers, and those to what was asked next at once."""

    def __init__(self, asking: Asks, keys: Any) -> None:
        self._client = Client(asking, ray.get(keys.get.remote()))
        self._told = 0  # how many of the endpoint's words were handed on

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """Ask for all of a block at once, within the limits."""
        chains = await asyncio.gather(*(self._client.chain(request) for request in requests_in(batch)))
        rows = [asdict(answer) | {"said": list[str]()} for chain in chains for answer in chain]
        words = self._client.words
        if rows:
            rows[0]["said"] = [f"{what}: {said}" for what, said in list(words.items())[self._told :]]
            self._told = len(words)
        return pa.Table.from_pylist(rows, schema=_ANSWERS)


@contextlib.contextmanager
def api_backend(asking: Asks) -> Iterator[Backend]:
    """A backend for ``write_queries``. Raises UserError when there is no usable key or no client."""
    api = asking.config.api
    secret = checked_key(api.key)
    checked_client()
    public = asking.keyless()

    keys = cast(Any, KeyHolder).options(scheduling_strategy=here()).remote(secret)

    def pipeline(requests: ray.data.Dataset, size: int) -> ray.data.Dataset:
        at_once = -(-api.requests_in_flight // size) + 1
        return requests.map_batches(
            AskApi,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs={"asking": public, "keys": keys},
            # One worker keeps all requests in flight: limits then hold for the whole job.
            compute=ray.data.ActorPoolStrategy(
                size=1, max_tasks_in_flight_per_actor=at_once, max_concurrent_calls_per_actor=at_once
            ),
            num_cpus=0.1,
        )

    # Small pieces for small jobs, so that a killed run has lost little.
    rounds = RoundsPipeline(pipeline, lambda requests: min(256, max(4, requests // 200)), rounds=asking.rounds)
    words: dict[str, str] = {}

    def ask(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        errors, answered = Counter[str](), 0
        for piece in rounds(requests):
            rows = piece.to_pylist()
            for what, said in (each.split(": ", 1) for row in rows for each in row.pop("said") or []):
                if words.setdefault(what, said) is said and said and what not in FATAL:
                    log.warning("the endpoint said (%s): %s", what, said)
            found = [Answer(**row) for row in rows]
            errors.update(answer.error for answer in found if answer.error)
            answered += sum(not answer.error for answer in found)
            yield found  # what was paid for is kept, whatever the others say
        if answered == 0 and errors and errors.keys() <= {"http_403"}:
            words.setdefault("forbidden", words.get("http_403", ""))
            raise UserError(fatal_message("forbidden", api, words))
        for error in FATAL:
            if errors[error]:
                raise UserError(fatal_message(error, api, words))

    try:
        yield ask
    finally:
        rounds.close()
        ray.kill(keys)


def checked_client() -> None:
    """Raises UserError where the client's package is missing."""
    try:
        import openai  # noqa: F401
    except ImportError:
        raise UserError("query backend 'api' needs the openai package: pip install 'patent-embed[api]'") from None


def checked_key(key: SecretStr | None) -> SecretStr:
    """The key, without blanks around it. Raises UserError where there is none, or none that a header can hold."""
    text = key.get_secret_value().strip() if key is not None else ""
    if not text:
        raise UserError(
            "query backend 'api' has no API key; set OPENAI_API_KEY or --llm_api_key (any word for an "
            "endpoint that wants none)"
        )
    bad = next((place for place, char in enumerate(text) if not "!" <= char <= "~"), None)
    if bad is not None:
        raise UserError(
            f"the API key holds a character at place {bad + 1} of {len(text)} that no HTTP header takes (a blank, a "
            "line break, a letter outside ASCII): every request would fail; copy the key anew into OPENAI_API_KEY or "
            "--llm_api_key"
        )
    return SecretStr(text)


def fatal_message(error: str, api: ApiConfig, words: dict[str, str]) -> str:
    """What is said of an error that ends the run; ``words`` are the endpoint's, by error."""
    where = api.base_url or "the default endpoint"
    said = f": {words[error]!r}" if words.get(error) else ""
    kept = "; what was answered before is kept"
    return {
        "unauthorized": f"{where} refused the API key (401){said}; set OPENAI_API_KEY or --llm_api_key to a valid one",
        "forbidden": f"{where} refused every request (403){said}; ask whose key it is and what it may do, or set "
        "--llm_base_url",
        "quota": f"{where} has no quota left for this key{said}; add credit, then the same command goes on",
        "no_model": f"{where} does not know the model{said}; set queries.api.model to a name that it lists",
        "not_there": f"{where} has no chat completions at this address{said}; check --llm_base_url, which mostly ends "
        "in /v1, and queries.api.model",
        "unreachable": f"{where} did not answer {UNREACHABLE_AFTER} requests in a row{said}; check --llm_base_url and "
        "the network",
    }[error] + kept
