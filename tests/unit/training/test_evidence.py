"""What a trained model is asked before it is published."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from patent_embed.encoder.encoder import Encoder
from patent_embed.evaluation.forgetting import general_texts
from patent_embed.training import evidence as module
from patent_embed.training.evidence import build_evidence, measure

SPLITS = ["train", "train", "val", "val", "test", "val"]
IDS = [f"CN{row}A" for row in range(6)]
CODES = [["G06T3/40"], ["H04L9/32"], ["G06T3/60"], ["A01B1/02"], ["A01B1/04"], ["H04L9/08", "B60K1/00"]]
ABSTRACTS = ["一种水泵", "一种灯具，包括灯罩。", "一种锁具，有锁芯。", "一种犁", "一种耙", "一种车，有轮。"]


def built(model: Path, sources: list[str], trained: list[str] | None = None) -> module.Evidence:
    corpus = pa.table(
        {"publication_number": IDS, "abstract": ABSTRACTS, "codes": pa.array(CODES, pa.list_(pa.string()))}
    )
    splits = pa.table({"publication_number": IDS, "family": IDS, "split": SPLITS})
    queries = pa.table({"publication_number": IDS, "query": [f"{text}？" for text in ABSTRACTS], "source": sources})
    read = pa.table({"source": pa.array(trained or [], pa.string())})
    return build_evidence(Encoder.load(model), corpus, splits, queries, read)


def test_rule_queries_are_asked_where_there_are_no_others(tiny_model: Path) -> None:
    ruled = built(tiny_model, ["rules"] * 6, ["rules", "rules", "cache", "rules"])
    assert ruled.asked.query_family.tolist() == [2, 3, 5]
    assert ruled.asked.passage_family.tolist() == [0, 1, 2, 3, 4, 5]
    assert ruled.unseen.tolist() == [False, True, False]  # G06T3 and H04L9 are trained on
    assert ruled.ruled == 0.75
    written = built(tiny_model, ["cache", "cache", "rules", "llm", "cache", "rules"])
    assert written.asked.query_family.tolist() == [3]
    assert written.ruled == 0


def test_so_many_patents_are_asked_about(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PATENTS", 1)
    monkeypatch.setattr(module, "OTHERS", 2)
    found = built(tiny_model, ["rules"] * 6)
    (asked,) = found.asked.query_family.tolist()
    assert SPLITS[asked] == "val"
    assert asked in found.asked.passage_family.tolist()
    assert len(found.asked.passages) == 3


def test_an_encoder_is_measured_on_queries_and_general_sentences(tiny_model: Path) -> None:
    found = measure(Encoder.load(tiny_model), built(tiny_model, ["rules"] * 6))
    assert found.values.shape == (3,)
    assert np.all((found.values > 0) & (found.values <= 1))  # six passages: the right one is among ten
    assert len(found.general) == len(general_texts())
    nothing = built(tiny_model, ["rules"] * 6)
    nothing = module.Evidence(nothing.asked, nothing.unseen[:0], 0.0, nothing.general)
    assert measure(Encoder.load(tiny_model), nothing).values.shape == (0,)
