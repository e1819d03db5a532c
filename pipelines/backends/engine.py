"""A vLLM engine on a Ray actor: requests in, answers out, and what has to be asked again goes into the running batch.

A rejected or truncated answer is known as such in the actor. Its next request takes its place among those that the
engine works on, so it costs its generation, and no round of its own at the end.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from patent_embed.config.queries import QueriesConfig
from patent_embed.encoder.hub import within
from patent_embed.queries.asking import Asks, Form, Request, room
from patent_embed.queries.prompts import Message, completion_prompt
from patent_embed.queries.store import SCHEMA, Answer
from pipelines.backends.chains import Chains
from pipelines.backends.rounds import requests_in

log = logging.getLogger("patent_embed")
_PROMPT_MAKERS = 2  # threads; one makes 560 prompts of 509 tokens a second, and an engine answers 150 to 200
_FULL = 1.1  # requests in an engine, over the sequences that it computes at a time: one that is done has a successor
_ROWS = SCHEMA.append(pa.field("seconds", pa.float64()))


class AskEngine:
    """Ray Data UDF: a block of requests (see ``rounds``) to their answers, and those to what was asked next at once.

    The latter may come with a later block (see ``chains``). ``seconds``, the same in each row of a block, is how long
    it was in hand. Errors: ``engine_error`` (a request that vLLM does not take, e.g. one that is too long),
    ``empty_answer``, ``truncated``.

    Args:
        asking: decides about answers.
        arguments: of the engine, as vLLM names them.
        chat: whether the model has a chat template.
    """

    def __init__(self, asking: Asks, arguments: dict[str, Any], *, chat: bool) -> None:
        import vllm

        self._asking, self._config, self._chat = asking, asking.config, chat
        self._engine = vllm.AsyncLLMEngine.from_engine_args(vllm.AsyncEngineArgs(**arguments))
        at_once = self._engine.vllm_config.scheduler_config.max_num_seqs
        self._places = asyncio.Semaphore(math.ceil(_FULL * at_once))
        self._chains = Chains(self._chain)
        self._makers = ThreadPoolExecutor(_PROMPT_MAKERS, "prompts")

    async def __call__(self, batch: pa.Table) -> pa.Table:
        """The answers to a block, within what the engine holds, and what else has come."""
        began = time.monotonic()
        answers = await self._chains.block(requests_in(batch))
        seconds = time.monotonic() - began
        rows = [asdict(answer) | {"seconds": seconds} for answer in answers]
        return pa.Table.from_pylist(rows, schema=_ROWS)

    async def _chain(self, first: Request) -> AsyncIterator[Answer]:
        """The answer to a request, and to each that follows from the one before, in one place of the engine."""
        tokens = await asyncio.get_running_loop().run_in_executor(self._makers, self._prompt, first)
        request: Request | None = first
        async with self._places:
            while request is not None:
                answer = await self._ask(request, tokens)
                yield answer
                request = self._asking.after(request, self._asking.verdict(request, answer))

    def _prompt(self, request: Request) -> list[int]:
        messages = self._asking.messages(request)
        prompt = messages if self._chat else completion_prompt(messages, self._asking.form(request).opening)
        return prompt_tokens(self._config.llm.model, prompt)

    async def _ask(self, request: Request, tokens: list[int]) -> Answer:
        from vllm.v1.engine.exceptions import EngineDeadError

        # Only a retry has a seed of its own: it keeps the sampler from repeating itself, and would slow down thousands.
        seed = {"seed": request.seed} if request.attempt else {}
        tokens_at_most = room(self._config, longer=request.longer)
        if not self._chat:  # it does not think before it answers: a line that goes on and on would only go on
            tokens_at_most = min(tokens_at_most, 2 * self._config.max_tokens)
        values = sampling(self._config, self._asking.form(request), chat=self._chat)
        params = _sampling_params(values, max_tokens=tokens_at_most, **seed)
        try:
            async for output in self._engine.generate({"prompt_token_ids": tokens}, params, uuid.uuid4().hex):
                if output.finished:
                    return self._answer(request.key, output)
        except EngineDeadError:
            log.error("the engine process of vLLM is dead: its actor ends, and Ray starts another")
            os._exit(1)  # as a crash, after which Ray sends the actor's blocks to another one
        # vLLM refuses a request in many ways; one request is lost by that, not the run.
        except Exception as error:  # noqa: BLE001
            log.debug("request %s: %r", request.key, error)
        return Answer(request.key, error="engine_error")

    def _answer(self, key: str, output: Any) -> Answer:
        said = output.outputs[0]
        # Where the end of the sequence is ignored, the length is the end that is meant.
        cut = said.finish_reason == "length" and not self._config.llm.sampling.get("ignore_eos")
        error = "truncated" if cut else "" if said.text else "empty_answer"
        return Answer(key, said.text or "", error, len(output.prompt_token_ids), len(said.token_ids))


def sampling(config: QueriesConfig, form: Form, *, chat: bool) -> dict[str, Any]:
    """vLLM's sampling parameters but the number of tokens."""
    # A base model continues a line of ours, which has the opening of the JSON object already.
    shape: dict[str, Any] = {"structured_outputs": dict(form.shape)} if chat else {"stop": ["\n"]}
    return form.drawn | shape | config.llm.sampling


def _sampling_params(values: dict[str, Any], **more: Any) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    form = values.get("structured_outputs")
    whole = {"output_kind": RequestOutputKind.FINAL_ONLY}  # nobody reads the tokens one by one
    structured = {"structured_outputs": StructuredOutputsParams(**form) if form else None}
    return SamplingParams(**(more | values | structured | whole))


def prompt_tokens(model: str, prompt: str | list[Message]) -> list[int]:
    """The token ids of a text, or of chat messages in the model's own template with the opening of an answer.

    A template writes its special tokens itself: a tokenizer that put its own before them would begin the prompts of
    Llama or Gemma with two <bos>.
    """
    tokenizer = load_tokenizer(model)
    if isinstance(prompt, str):
        return list(tokenizer(prompt)["input_ids"])
    return list(tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=False))


def load_tokenizer(model: str) -> Any:
    """The tokenizer of a hub id or a local folder; each thread has its own. Raises OSError, ValueError."""
    return _loaded(model, threading.get_ident())


@functools.lru_cache(maxsize=2 * _PROMPT_MAKERS)
def _loaded(model: str, thread: int) -> Any:
    # Fast tokenizers keep how they cut and pad in themselves: two threads would be in each other's way.
    from transformers import AutoTokenizer

    return within(lambda: AutoTokenizer.from_pretrained(str(Path(model).expanduser())), f"the tokenizer of {model}")
