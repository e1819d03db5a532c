from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.kernels.cpu_fused import encoder_of
from patent_embed.serving.encoding import BatchedEncoder


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> Encoder:
    return Encoder.load(tiny_model)


def test_requests_at_once_get_their_own_vectors_with_the_right_prompt(encoder: Encoder) -> None:
    batched = BatchedEncoder(encoder, "test")
    texts = ["水泵", "带滤网的水泵", "天线和电池组成的装置"]
    asked = [(kind, part, batched.submit(part, kind)) for kind in ("query", "passage") for part in (texts[:1], texts)]
    queries = [(text, batched.query(text)) for text in texts]
    for kind, part, future in asked:
        expected, found = encoder.encode(part, kind), future.result()
        assert np.abs(found.vectors - expected).max() < 1e-5
        assert found.tokens.tolist() == encoder.tokenize(part, kind).lengths.tolist()
        assert not found.cut.any()
    assert not np.allclose(encoder.encode(texts, "query"), encoder.encode(texts, "passage"), atol=1e-3)
    for text, future in queries:
        assert np.abs(future.result().vector - encoder.encode([text], "query")[0]).max() < 1e-5
        assert batched.query(text) is future  # asked again: not encoded again


def test_a_server_on_a_cpu_runs_a_lean_pass_and_gives_the_plain_vectors(tiny_model: Path) -> None:
    plain, served = Encoder.load(tiny_model), Encoder.load(tiny_model)
    batched = BatchedEncoder(served, "lean")
    assert "forward" in vars(encoder_of(served.model))
    assert "forward" not in vars(encoder_of(plain.model))
    texts = ["水泵", "带滤网的水泵", "天线和电池组成的装置" * 5]
    found = batched.submit(texts, "passage").result().vectors
    assert (found * plain.encode(texts, "passage", precision="fp32")).sum(axis=1).min() > 0.999


def test_threads_share_a_batch(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    served, texts = Encoder.load(tiny_model), [f"带{n}个滤网的水泵" * (1 + n % 4) for n in range(8)]
    monkeypatch.setattr("patent_embed.serving.encoding.use_threads_of_torch", lambda count: None)
    batched = BatchedEncoder(served, "shared")
    expected = Encoder.load(tiny_model).encode(texts, "passage", precision="fp32")
    for count in (1, 2, 3, 8):
        found = batched.submit(texts[:count], "passage").result().vectors
        assert (found * expected[:count]).sum(axis=1).min() > 0.999
    assert (served.model.training, len(batched.submit([], "query").result().vectors)) == (False, 0)


def test_a_long_query_is_the_mean_of_its_parts(encoder: Encoder) -> None:
    sentences = [f"第{n}步骤中将滤网装入水泵的壳体内并以螺钉固定。" for n in range(20)]
    found = BatchedEncoder(encoder, "test").query("".join(sentences)).result()
    assert found.parts > 2
    assert not found.cut
    assert np.linalg.norm(found.vector) == pytest.approx(1, abs=1e-5)
    # Sentence by sentence gives nearly the same direction; the beginning alone, which the model reads at once, less so.
    lengths = encoder.tokenize(sentences, "query").lengths[:, None]
    mean = (encoder.encode(sentences, "query") * lengths).sum(axis=0)
    assert found.vector @ mean / np.linalg.norm(mean) > 0.97


def test_what_is_behind_the_last_part_is_said(encoder: Encoder) -> None:
    found = BatchedEncoder(encoder, "test").query("泵" * 4000).result()
    assert (found.parts, found.cut) == (16, True)
    short = BatchedEncoder(encoder, "test").query("泵" * 100).result()
    assert (short.parts, short.cut) == (1, False)
    cut = BatchedEncoder(encoder, "test").submit(["泵" * 500, "泵"], "passage").result()
    assert cut.cut.tolist() == [True, False]
