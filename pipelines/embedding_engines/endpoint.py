"""An OpenAI-compatible endpoint for embeddings: ``patent-embed serve``, vLLM, Text Embeddings Inference and others."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from pydantic import SecretStr
from typing_extensions import override

from patent_embed.config.model import Kind
from patent_embed.encoder.export import Encode
from patent_embed.errors import UserError
from patent_embed.queries.endpoint import refusal, words_of
from pipelines.backends.api import checked_key
from pipelines.embedding_engines.base import ENGINES, EmbeddingEngine, PublishedModel

KEY = "OPENAI_API_KEY"
_TEXTS = 32  # of a request, which is what Text Embeddings Inference takes
_AT_ONCE = 4  # requests
_TIMEOUT_S = 300.0
_RETRIES = 5  # the client's own, with growing pauses, of 408, 409, 429 and 5xx
_OF_A_KIND: dict[Kind, str] = {"query": "query", "passage": "document"}  # how our own server names its models' kinds


class Endpoint(EmbeddingEngine):
    """The endpoint at an address such as ``http://127.0.0.1:8080/v1``.

    ``patent-embed serve`` puts prompts before the texts itself, by its model's names (``tuned-query``); to all others
    the texts are sent with their prompts before them, as a program that uses such an endpoint has to.
    """

    order, package, extra = 9, "openai", "api"

    def __init__(self, address: str, model: str | None = None) -> None:
        self.name, self._model = address, model

    @override
    def require(self, published: PublishedModel) -> None:
        super().require(published)
        if not is_address(self.name):
            raise UserError(f"--engines {self.name} stands for an address; give it, such as http://127.0.0.1:8080/v1")

    @override
    @contextlib.contextmanager
    def opened(self, published: PublishedModel) -> Iterator[Encode]:
        import openai

        key = checked_key(SecretStr(os.environ.get(KEY, "").strip() or "none"))
        with (
            openai.OpenAI(
                base_url=self.name, api_key=key.get_secret_value(), timeout=_TIMEOUT_S, max_retries=_RETRIES
            ) as client,
            ThreadPoolExecutor(_AT_ONCE) as pool,
        ):
            yield _Asked(self, client, key, pool, self._models(client, key), published).encode

    def _models(self, client: Any, key: SecretStr) -> dict[Kind, str] | str:
        """The model of each kind where the server tells kinds apart, else the one that embeds both."""
        try:
            names = [each.id for each in client.with_options(max_retries=1).models.list()]
        except Exception as error:  # noqa: BLE001 - whatever it sends: an endpoint need not tell its models
            if self._model is None and _is_unreachable(error):
                raise self.unanswered(error, key) from None
            names = []
        name = self._model or ("tuned" if "tuned" in names else next(iter(names), "default"))
        kinds = {kind: f"{name}-{suffix}" for kind, suffix in _OF_A_KIND.items()}
        return kinds if set(kinds.values()) <= set(names) else name

    def unanswered(self, error: Exception, key: SecretStr) -> UserError:
        """What is said of an endpoint that does not embed, in its own words, without credentials."""
        response = getattr(error, "response", None)
        if response is not None:
            found = refusal(response.status_code, response.content, key.get_secret_value())
            said = f"HTTP {response.status_code}: {found.words if found else 'no embeddings'!r}"
        else:
            said = words_of(repr(error.__cause__ or error).encode(), key.get_secret_value())
        return UserError(
            f"{self.name} gives no embeddings ({said}); set --engines to an address that answers POST /embeddings, "
            f"such as http://127.0.0.1:8080/v1, {KEY} to its key, and --endpoint_model to a model that it has"
        )


ENDPOINT = Endpoint("URL")


def is_address(name: str) -> bool:
    """Whether an engine is named by the address of an endpoint."""
    return name.startswith(("http://", "https://"))


def engine_of(name: str, endpoint_model: str | None = None) -> EmbeddingEngine:
    """The engine of a name, or the endpoint at an address. Raises UserError where there is none."""
    return Endpoint(name, endpoint_model) if is_address(name) else ENGINES[name]


class _Asked:
    """An endpoint that is asked for the texts of a run."""

    def __init__(
        self,
        endpoint: Endpoint,
        client: Any,
        key: SecretStr,
        pool: ThreadPoolExecutor,
        models: dict[Kind, str] | str,
        published: PublishedModel,
    ) -> None:
        self._endpoint, self._client, self._key, self._pool = endpoint, client, key, pool
        self._models, self._prompts = models, published.prompts
        self._cut: dict[str, Any] = {}  # what makes it cut long texts, where it does not by itself

    def encode(self, texts: list[str], kind: Kind) -> np.ndarray:
        """(n, dim) float32, in the order of the texts."""
        if isinstance(self._models, dict):
            model, sent = self._models[kind], texts
        else:
            model, sent = self._models, [self._prompts[kind] + text for text in texts]
        parts = [sent[begin : begin + _TEXTS] for begin in range(0, len(sent), _TEXTS)]
        try:
            return np.concatenate(list(self._pool.map(lambda part: self._vectors(model, part), parts)))
        except Exception as error:  # noqa: BLE001 - endpoints fail in a hundred ways, each told in their words
            raise self._endpoint.unanswered(error, self._key) from None

    def _vectors(self, model: str, texts: Sequence[str]) -> np.ndarray:
        import openai

        try:
            answer = self._client.embeddings.create(model=model, input=list(texts), extra_body=self._cut)
        except openai.BadRequestError:
            if self._cut:
                raise
            # vLLM refuses a text that is too long, unless it is told to cut it to what the model reads.
            self._cut = {"truncate_prompt_tokens": -1}
            answer = self._client.embeddings.create(model=model, input=list(texts), extra_body=self._cut)
        rows = sorted(answer.data, key=lambda each: int(each.index))
        if [row.index for row in rows] != list(range(len(texts))):
            raise ValueError(f"{len(texts)} texts were sent, embeddings of {len(rows)} came back")
        return np.array([row.embedding for row in rows], np.float32)


def _is_unreachable(error: Exception) -> bool:
    import openai

    refused = isinstance(error, openai.AuthenticationError)
    return refused or isinstance(error, openai.APIConnectionError)
