"""Faults are planted where users make them, in the folders and programs that serve a model, and found by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_model, load_format
from patent_embed.encoder.faults import diagnose
from tests.unit.encoder.models import TEXTS, trained

QUERIES = [text[3:30] for text in TEXTS[:-1]] + ["滤网"]
TEXTS_OF = {"query": QUERIES, "passage": [*TEXTS, TEXTS[0][:20], TEXTS[1][:40], TEXTS[2] * 3]}


@pytest.fixture(scope="module")
def published(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = trained(tiny_model, lora=True)
    encoder.prompts["passage"] = "文：" * 4
    encoder.prompts["query"] = "请找出与下面的问题相关的专利："
    return export_model(encoder, tmp_path_factory.mktemp("published"))


def changed(folder: Path, out: Path, file: str, **settings: Any) -> Path:
    shutil.copytree(folder, out)
    about = json.loads((out / file).read_text())
    (out / file).write_text(json.dumps(about | settings))
    return out


def found_in(published: Path, served: Path, base: Path) -> str:
    """What is said of sentence-transformers, which is given ``served`` in place of the model."""
    encode, encoder = load_format(served, "fp32"), Encoder.load(published)
    own = {kind: encoder.encode(texts, kind, precision="fp32") for kind, texts in TEXTS_OF.items()}
    found = {kind: encode(texts, kind) for kind, texts in TEXTS_OF.items()}
    return diagnose(encoder, TEXTS_OF, own, found, Encoder.load(base)).words


POOLING, PROMPTS = "1_Pooling/config.json", "config_sentence_transformers.json"
NO_PROMPTS = {"prompts": {"query": "", "passage": "", "document": ""}}


def test_wrong_pooling(published: Path, tiny_model: Path, tmp_path: Path) -> None:
    modes = {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}
    served = changed(published, tmp_path / "served", POOLING, **modes)
    assert found_in(published, served, tiny_model) == "wrong pooling: it pools 'cls', the model 'mean'"


def test_forgotten_prompts(published: Path, tiny_model: Path, tmp_path: Path) -> None:
    served = changed(published, tmp_path / "none", PROMPTS, **NO_PROMPTS)
    words = found_in(published, served, tiny_model)
    assert words.startswith("a forgotten prompt: nothing is put before queries (the model wants '请找出与")
    prompts = Encoder.load(published).prompts
    without = {"query": "", "passage": prompts["passage"], "document": prompts["passage"]}
    served = changed(published, tmp_path / "query", PROMPTS, prompts=without)
    assert "is not put before queries" in found_in(published, served, tiny_model)
    same = dict.fromkeys(("query", "passage", "document"), prompts["query"])
    served = changed(published, tmp_path / "same", PROMPTS, prompts=same)
    assert "passages get that of queries" in found_in(published, served, tiny_model)


def test_an_ignored_adapter(published: Path, tiny_model: Path, tmp_path: Path) -> None:
    base = Encoder.load(tiny_model)
    base.prompts = Encoder.load(published).prompts
    served = export_model(base, tmp_path / "served")
    assert found_in(published, served, tiny_model) == "an ignored adapter: its vectors are the base model's"


@pytest.mark.parametrize("length", [64, 50, 200])
def test_another_length(published: Path, tiny_model: Path, tmp_path: Path, length: int) -> None:
    served = changed(published, tmp_path / "served", "sentence_bert_config.json", max_seq_length=length)
    words = found_in(published, served, tiny_model)
    kind, _, told = words.partition(": it reads ")
    assert kind == ("a truncated length" if length < 128 else "another length")
    read = int(told.split()[0])
    # Between two lengths of texts nothing tells one from another.
    lengths = np.concatenate([Encoder.load(published).whole_lengths(texts, kind) for kind, texts in TEXTS_OF.items()])
    assert np.array_equal(np.minimum(lengths, read), np.minimum(lengths, length)) or read == length


def test_two_faults_at_once(published: Path, tiny_model: Path, tmp_path: Path) -> None:
    modes = {"pooling_mode_mean_tokens": False, "pooling_mode_lasttoken": True}
    one = changed(published, tmp_path / "one", POOLING, **modes)
    both = changed(one, tmp_path / "both", PROMPTS, **NO_PROMPTS)
    words = found_in(published, both, tiny_model)
    assert "wrong pooling: it pools 'lasttoken'" in words
    assert "a forgotten prompt" in words


def test_what_no_fault_explains(published: Path, tiny_model: Path, tmp_path: Path) -> None:
    other = trained(tiny_model, lora=False, seed=9)
    other.prompts = Encoder.load(published).prompts
    words = found_in(published, export_model(other, tmp_path / "served"), tiny_model)
    assert words.startswith("no known fault explains it")
    encoder = Encoder.load(published)
    own = {kind: encoder.encode(texts, kind, precision="fp32") for kind, texts in TEXTS_OF.items()}
    narrow = {kind: vectors[:, :16] for kind, vectors in own.items()}
    assert "they are cut to the first 16" in diagnose(encoder, TEXTS_OF, own, narrow).words
