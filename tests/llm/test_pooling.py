"""vLLM's pooling runner gives the vectors of the pipeline: with the merged model, and with the base and the adapter."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_model, save_adapter
from patent_embed.encoder.faults import diagnose
from patent_embed.errors import UserError
from patent_embed.evaluation.agreement import COSINE, unit
from pipelines.embedding_engines.base import ENGINES, PublishedModel
from tests.tiny_model import write_tiny_model
from tests.unit.encoder.models import TEXTS, trained

pytest.importorskip("vllm")

TEXTS_OF = {"query": [text[3:40] or text for text in TEXTS], "passage": [*TEXTS, TEXTS[0] * 4]}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> PublishedModel:
    folder = tmp_path_factory.mktemp("run")
    base = write_tiny_model(folder, width=128)  # vLLM computes heads of 64 numbers on a CPU, and no small ones
    encoder = trained(base, lora=True)
    return PublishedModel(
        model=export_model(encoder, folder / "out/model"),
        adapter=save_adapter(encoder, folder / "out/adapter"),
        base=base,
        exports=folder / "out/export",
        prompts=encoder.prompts,
        max_seq_length=encoder.max_seq_length,
    )


@pytest.mark.parametrize("name", ["vllm", "vllm-lora"])
def test_vllm_serves_what_was_measured(published: PublishedModel, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in {"VLLM_CPU_KVCACHE_SPACE": "1", "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(variable, value)
    encoder = Encoder.load(published.model)
    own = {kind: encoder.encode(texts, kind, precision="fp32") for kind, texts in TEXTS_OF.items()}
    engine = ENGINES[name]
    engine.require(published)
    with engine.opened(published) as encode:
        found = {kind: encode(texts, kind) for kind, texts in TEXTS_OF.items()}
        without = {kind: encode(texts, "passage") for kind, texts in TEXTS_OF.items()}
    for kind, vectors in found.items():
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-2)
        assert (unit(vectors) * own[kind]).sum(axis=1).min() > COSINE
    base = Encoder.load(published.base) if published.base else None
    assert diagnose(encoder, TEXTS_OF, own, without, base).words.startswith("a forgotten prompt")


def test_an_adapter_that_is_not_there(published: PublishedModel) -> None:
    with pytest.raises(UserError, match="needs the run's adapter/ folder"):
        ENGINES["vllm-lora"].require(dataclasses.replace(published, adapter=None))
