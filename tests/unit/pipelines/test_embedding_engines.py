"""An endpoint that serves a model, asked for real; programs that read its folders: `tests/e2e/test_verify.py`."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.faults import diagnose
from patent_embed.errors import UserError
from patent_embed.serving.app import create_app
from patent_embed.serving.guard import Limits
from patent_embed.serving.live import Live
from pipelines.embedding_engines.base import ENGINES, PublishedModel
from pipelines.embedding_engines.endpoint import engine_of
from tests.serving import engine, records
from tests.unit.encoder.models import TEXTS

TOKEN = "0123456789abcdef-of-a-test"
TEXTS_OF = {"query": [text[3:40] or text for text in TEXTS], "passage": TEXTS * 8}  # more than one request


@pytest.fixture
def published(tiny_model: Path, tmp_path: Path) -> PublishedModel:
    encoder = Encoder.load(tiny_model)
    return PublishedModel(tiny_model, None, None, tmp_path / "export", encoder.prompts, encoder.max_seq_length)


@pytest.fixture
def endpoint(tiny_model: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server of two models: ``tuned`` is the tiny one, and ``base`` puts another prompt."""
    served = engine(tmp_path / "corpus", records(20), tiny_model)
    live = Live(lambda output: served, "first")
    with _running(uvicorn.Config(create_app(live, Limits(TOKEN)), port=0, log_level="warning")) as address:
        yield f"{address}/v1"


@contextmanager
def _running(config: uvicorn.Config) -> Iterator[str]:
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    host, port = server.servers[0].sockets[0].getsockname()[:2]
    yield f"http://{host}:{port}"
    server.should_exit = True
    thread.join()


def vectors_of(name: str, published: PublishedModel, model: str | None = None) -> dict[str, np.ndarray]:
    asked = engine_of(name, model)
    asked.require(published)
    with asked.opened(published) as encode:
        return {kind: encode(texts, kind) for kind, texts in TEXTS_OF.items()}


def test_an_endpoint(endpoint: str, published: PublishedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
    encoder = Encoder.load(published.model)
    own = {kind: encoder.encode(texts, kind, precision="fp32") for kind, texts in TEXTS_OF.items()}
    for model in (None, "tuned", "tuned-document"):  # the last one is sent prompts, and puts none of its own
        found = vectors_of(endpoint, published, model)
        assert min(float((found[kind] * own[kind]).sum(axis=1).min()) for kind in own) > 0.999
    found = vectors_of(endpoint, published, "tuned-query")
    assert "it puts '问' before all texts" in diagnose(encoder, TEXTS_OF, own, found).words
    # A program that forgets the prompt, as one that knows of none does.
    forgetful = dataclasses.replace(published, prompts={"query": "", "passage": ""})
    found = vectors_of(endpoint, forgetful, "tuned-document")
    assert diagnose(encoder, TEXTS_OF, own, found).words.startswith("a forgotten prompt")


def test_an_endpoint_that_refuses(endpoint: str, published: PublishedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", wrong := "sk-wrong-0123456789abcdef")
    with pytest.raises(UserError, match=r"gives no embeddings \(HTTP 401") as told:
        vectors_of(endpoint, published)
    assert wrong not in str(told.value)
    monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
    with pytest.raises(UserError, match=r"HTTP 400.*not served here"):
        vectors_of(endpoint, published, "another")
    with pytest.raises(UserError, match="gives no embeddings"):
        vectors_of("http://127.0.0.1:1/v1", published)


def test_names() -> None:
    assert ENGINES.names() == ["sentence-transformers", "onnx", "openvino", "vllm", "vllm-lora", "URL"]
    with pytest.raises(UserError, match=r"--engines is 'tei', which is none of sentence-transformers, onnx"):
        engine_of("tei")
