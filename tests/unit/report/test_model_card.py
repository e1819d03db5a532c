"""The model's card, and the programs in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from patent_embed.report.content import RunReport, evidence_lines, sentence
from patent_embed.report.model_card import usage_snippets, write_model_card
from tests.unit.report.conftest import card, regressed


def test_model_card(tmp_path: Path, report: RunReport) -> None:
    write_model_card(tmp_path, card(), report)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    _, header, body = text.split("---\n", 2)
    fields = yaml.safe_load(header)
    assert fields["language"] == ["zh"]
    assert fields["library_name"] == "sentence-transformers"
    assert fields["pipeline_tag"] == "sentence-similarity"
    assert fields["base_model"] == "BAAI/bge-base-zh-v1.5"
    metrics = fields["model-index"][0]["results"][0]["metrics"]
    assert metrics[0]["type"] == "ndcg_at_10"
    assert metrics[0]["value"] == pytest.approx(report.comparisons[0].system_mean, abs=1e-6)
    for part in ("tuned is better than base", "| patents, train | 700 |", "为这个句子生成", "margin 0.3", "512 tokens"):
        assert part in body
    from huggingface_hub import ModelCard as HubCard

    data = HubCard.load(tmp_path / "README.md").data  # the hub's own reader accepts the header
    assert data.eval_results[0].metric_type == "ndcg_at_10"


def test_model_card_of_a_local_model_names_no_path_and_no_metrics_it_lacks(tmp_path: Path) -> None:
    write_model_card(tmp_path, card(base_model=None, query_prompt=""), RunReport(results=[]))
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "base_model" not in text
    assert "model-index" not in text
    assert "a local encoder" in text
    assert "take a prompt" in text


@pytest.mark.parametrize("pooling", ["mean", "cls", "lasttoken"])
def test_usage_snippets_run_on_an_exported_model_and_agree(tiny_model: Path, tmp_path: Path, pooling: str) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling

    from patent_embed.encoder.encoder import Encoder
    from patent_embed.encoder.export import export_model

    tiny = SentenceTransformer(str(tiny_model), device="cpu")
    prompts = {"query": "问：", "passage": "文", "document": "文"}
    modules = [tiny[0], Pooling(32, pooling)]
    SentenceTransformer(modules=modules, prompts=prompts, device="cpu").save(str(tmp_path / "model"))
    exported = str(export_model(Encoder.load(tmp_path / "model"), tmp_path / "exported"))

    def run(name: str, query_prompt: str = "问：", passage_prompt: str = "文") -> np.ndarray:
        code = usage_snippets(exported, pooling, query_prompt, passage_prompt, 128)[name]
        names: dict[str, Any] = {}
        exec(compile(code, name, "exec"), names)
        return np.asarray(names["scores"].tolist())

    scores = run("transformers")
    assert scores.shape == (2, 2)
    np.testing.assert_allclose(scores, run("sentence-transformers"), atol=1e-5)
    if pooling != "cls":  # a prompt moves the first token's vector of a random model by next to nothing
        assert np.abs(scores - run("transformers", "", "文")).max() > 1e-4
        assert np.abs(scores - run("transformers", "问：", "")).max() > 1e-4


def test_a_regression_in_a_slice_is_said(tmp_path: Path) -> None:
    write_model_card(tmp_path, card(), regressed())
    said = sentence(evidence_lines(regressed())[0])
    assert said.startswith("But tuned is worse than base in section G (")
    assert said in (tmp_path / "README.md").read_text(encoding="utf-8")
