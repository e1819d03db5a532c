"""Queries through an endpoint's Batch API: files of requests that are answered within a day, for half the price.

What was submitted is noted in the store of answers before and after it is, so a run that is killed at any time goes on
with the batches that it had: they are found by their tag, and their answers belong to requests by id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from patent_embed.errors import UserError
from patent_embed.folders import Folder
from patent_embed.queries.answers import read_answer
from patent_embed.queries.asking import Asks, Request, room
from patent_embed.queries.collecting import Backend
from patent_embed.queries.endpoint import error_of, refusal, words_of
from patent_embed.queries.store import Answer
from pipelines.backends.api import checked_client, checked_key, fatal_message
from pipelines.backends.client import FATAL, Client

log = logging.getLogger("patent_embed")
_TAG = "patent_embed"  # of the metadata that a batch is found by
_REQUESTS = 50_000  # in a batch, as OpenAI limits them
_BYTES = 100_000_000  # of its file; OpenAI takes twice as much
_NOTE = "batch-"
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})


@dataclass(frozen=True)
class _Batch:
    """A batch that is, or was about to be, submitted; ``number`` is the endpoint's name of it."""

    tag: str
    keys: frozenset[str]
    number: str = ""


class _Notes:
    """The batches that a store of answers waits for."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder

    def all(self) -> list[_Batch]:
        """Those of this and of earlier runs."""
        found = []
        for entry in self._folder.entries():
            if entry.name.startswith(_NOTE) and (content := self._folder.read(entry.name)) is not None:
                note = json.loads(content)
                found.append(_Batch(note["tag"], frozenset(note["keys"]), note["number"]))
        return found

    def keep(self, batch: _Batch) -> None:
        note = {"tag": batch.tag, "number": batch.number, "keys": sorted(batch.keys)}
        self._folder.write(f"{_NOTE}{batch.tag}.json", json.dumps(note).encode())

    def forget(self, batch: _Batch) -> None:
        self._folder.delete(f"{_NOTE}{batch.tag}.json")


@contextlib.contextmanager
def batch_backend(asking: Asks, store: Folder) -> Iterator[Backend]:
    """A backend for ``write_queries``; ``store`` is where answers are kept.

    Raises UserError when there is no usable key or no client, and in ``Backend`` what ``api_backend`` raises, or when
    the endpoint refuses a batch.
    """
    checked_client()
    key = checked_key(asking.config.api.key)
    work = _Work(asking, key, _Notes(store))
    try:
        yield work.ask
    finally:
        work.client.close()


class _Work:
    def __init__(self, asking: Asks, key: Any, notes: _Notes) -> None:
        import openai

        self._openai = openai
        self._asking, self._api, self._key, self._notes = asking, asking.config.api, key, notes
        self.client = openai.OpenAI(
            api_key=key.get_secret_value(),
            base_url=self._api.base_url,
            timeout=self._api.timeout_s,
            max_retries=self._api.retries,
        )
        self._parameters: Any = None

    def ask(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        """The answers to ``requests``, batch by batch; those of batches that an earlier run submitted first."""
        try:
            yield from self._ask(requests)
        except self._openai.APIError as error:
            raise UserError(
                f"{self._api.base_url or 'the default endpoint'} does not answer about its batches "
                f"({type(error).__name__}); they are noted, and the same command goes on with them"
            ) from None

    def _ask(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        missing = {request.key: request for request in requests}
        batches = []
        for noted in self._notes.all():
            if noted.keys & missing.keys() and (batch := self._found(noted)) is not None:
                batches.append(batch)
                missing = {key: request for key, request in missing.items() if key not in batch.keys}
        if missing and self._parameters is None:
            first = next(iter(missing.values()))
            yield self._tried(first)
            del missing[first.key]
        for part in _parts(self._line(request) for request in missing.values()):
            batches.append(self._submitted(part))
        while batches:
            going = []
            for batch in batches:
                state = self.client.batches.retrieve(batch.number)
                log.debug("batch %s: %s", batch.number, state.status)
                if state.status in _ENDED:
                    yield self._answers(batch, state)
                    self._notes.forget(batch)  # only now, when its answers are stored
                else:
                    going.append(batch)
            batches = going
            if batches:
                time.sleep(self._api.batch_poll_s)

    def _found(self, noted: _Batch) -> _Batch | None:
        """A noted batch as the endpoint knows it; None where it never came there, which is then forgotten."""
        if noted.number:
            return noted
        for state in self.client.batches.list(limit=100):
            if (state.metadata or {}).get(_TAG) == noted.tag:
                batch = _Batch(noted.tag, noted.keys, state.id)
                self._notes.keep(batch)
                return batch
        self._notes.forget(noted)
        return None

    def _tried(self, first: Request) -> list[Answer]:
        """The answers to one request, sent at once: what the endpoint says of key, model and parameters is known then,
        and not in a day."""

        async def alone() -> tuple[Client, list[Answer]]:
            client = Client(self._asking, self._key)
            return client, await client.chain(first)

        client, answers = asyncio.run(alone())
        for what, words in client.words.items():
            if what not in FATAL:
                log.warning("the endpoint said (%s): %s", what, words)
        if answers[-1].error in FATAL:
            raise UserError(fatal_message(answers[-1].error, self._api, client.words))
        self._parameters = client.parameters
        return answers

    def _line(self, request: Request) -> tuple[str, bytes]:
        config = self._asking.config
        body = {"model": self._api.model or config.llm.model, "messages": self._asking.messages(request)}
        form = self._asking.form(request)
        body |= self._parameters.body(request.seed, room(config, longer=request.longer), form.drawn)
        whole = {"custom_id": request.key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        return request.key, json.dumps(whole, ensure_ascii=False).encode() + b"\n"

    def _submitted(self, part: list[tuple[str, bytes]]) -> _Batch:
        batch = _Batch(uuid.uuid4().hex, frozenset(key for key, _ in part))
        self._notes.keep(batch)
        try:
            content = b"".join(line for _, line in part)
            file = self.client.files.create(file=(f"{batch.tag}.jsonl", content), purpose="batch")
            state = self.client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={_TAG: batch.tag},
            )
        except self._openai.APIStatusError as error:
            self._notes.forget(batch)
            words = words_of(error.response.content, self._key.get_secret_value())
            raise UserError(
                f"{self._api.base_url or 'the default endpoint'} takes no batches (http_{error.status_code}): "
                f"{words!r}; what was answered is kept; set queries.api.batch=false"
            ) from None
        batch = _Batch(batch.tag, batch.keys, state.id)
        self._notes.keep(batch)
        log.info("batch %s of %d requests is submitted; a run that is ended goes on with it", batch.number, len(part))
        return batch

    def _answers(self, batch: _Batch, state: Any) -> list[Answer]:
        """What a batch that has ended gives: an answer for each of its keys."""
        found: dict[str, Answer] = {}
        for name in (state.output_file_id, state.error_file_id):
            for line in self.client.files.content(name).content.splitlines() if name else ():
                answer = self._read(line)
                if answer is not None and answer.key in batch.keys:
                    found.setdefault(answer.key, answer)
        if not found and state.status == "failed":
            self._notes.forget(batch)
            words = words_of(json.dumps(_plain(state.errors)).encode(), self._key.get_secret_value())
            raise UserError(
                f"the endpoint refused a batch of {len(batch.keys)} requests: {words!r}; what was answered is kept; "
                "set queries.api.batch=false"
            )
        missing = f"batch_{state.status}" if state.status != "completed" else "lost"
        return [found.get(key) or Answer(key, error=missing) for key in sorted(batch.keys)]

    def _read(self, line: bytes) -> Answer | None:
        try:
            result = json.loads(line)
            key, response = str(result["custom_id"]), result.get("response")
        except (ValueError, LookupError, AttributeError, TypeError):
            return None
        if not isinstance(response, dict):
            return Answer(key, error="batch_error" if result.get("error") else "malformed")
        status = response.get("status_code", 200)
        body = response.get("body")
        if status != 200 or error_of(body) is not None:
            refused = refusal(status if isinstance(status, int) else 500, json.dumps(body).encode())
            return Answer(key, error=refused.error if refused else f"http_{status}")
        return read_answer(key, body)


def _parts(lines: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """``lines`` in files that an endpoint takes."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for line in lines:
        if part and (len(part) == _REQUESTS or size + len(line[1]) > _BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line[1])
    if part:
        yield part


def _plain(errors: Any) -> Any:
    found = errors.model_dump() if hasattr(errors, "model_dump") else errors
    return {"error": found.get("data") if isinstance(found, dict) else found}
