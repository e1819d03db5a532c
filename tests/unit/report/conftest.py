"""Reports to render."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from patent_embed.data import schemas
from patent_embed.evaluation.comparison import compare
from patent_embed.evaluation.forgetting import compare_general
from patent_embed.evaluation.measure import EvalResult
from patent_embed.evaluation.slices import compare_slices, query_labels
from patent_embed.report.content import RunReport
from patent_embed.report.model_card import ModelCard
from tests.evidence import world

COUNT = 80


def result(name: str, gain: float, scale: str = "cosine", source: str | None = None) -> EvalResult:
    """A system on 80 test queries, half of them of another source, with metrics around 0.6 + ``gain``."""
    columns: dict[str, Any] = {}
    values = np.clip(0.6 + gain + np.random.default_rng(0).uniform(-0.2, 0.2, COUNT), 0, 1)
    for field in schemas.PER_QUERY:
        if field.type == pa.float64():
            columns[field.name] = pa.array(values)
        elif field.type == pa.int32():
            columns[field.name] = pa.array(range(COUNT) if field.name == "query_no" else [2] * COUNT, pa.int32())
        elif field.type == pa.list_(pa.float32()):
            columns[field.name] = pa.array([[0.5, 0.4]] * COUNT, field.type)
        else:
            columns[field.name] = pa.array(["?"] * COUNT) if field.type == pa.string() else pa.array([True] * COUNT)
    columns["publication_number"] = pa.array([f"CN{i}" for i in range(COUNT)])
    columns["split"] = pa.array(["test"] * COUNT)
    columns["source"] = pa.array([source or ("llm" if i % 2 else "rules") for i in range(COUNT)])
    return EvalResult(name, scale, pa.table(columns, schema=schemas.PER_QUERY))


@pytest.fixture
def report() -> RunReport:
    results = [result("bm25", -0.2, "bm25"), result("base", 0.0), result("tuned", 0.1)]
    verdict = compare(results[2], results[1])
    assert verdict is not None
    return RunReport(
        results=results,
        comparisons=[verdict],
        data={"records": 1234},
        rejects={"no_abstract": 17},
        splits={"train": 700, "val": 150, "test": 151},
        query_sources={"llm": 900, "rules": 101},
        negatives={
            "anchors": 1001,
            "rungs": {"same_main_group": 1800, "same_subclass": 900, "random": 300},
            "shortfall": {"1": 3},
            "anchors_without_negatives": 2,
        },
        history=[
            {"epoch": 0, "val_ndcg@10": 0.61},
            {"epoch": 1, "loss": 0.2345, "val_ndcg@10": 0.71, "train_seconds": 61.0},
        ],
        kept_epoch=1,
        validation={"candidates": 50_000, "patents": 81_234, "most": 50_000, "seed": 42},
        timings={"ingest": 1.5, "train": 75.0},
        reused={"ingest"},
        settings={"run": {"seed": 42}},
        versions={"torch": "2.13"},
    )


def regressed() -> RunReport:
    """Better on the whole, worse in section G."""
    given = world(600)
    base, tuned = given.measured("base", 0.7), given.measured("tuned", np.where(np.arange(600) % 8 == 6, 1.4, 0.5))
    labels = query_labels(tuned.per_query, given.queries, given.corpus, given.splits)
    comparison, slices = compare(tuned, base), compare_slices(tuned, base, labels)
    assert comparison is not None
    assert base.general is not None
    general = compare_general("tuned", "base", base.general, base.general)
    return RunReport(results=[base, tuned], comparisons=[comparison], slices=slices, forgetting=general)


def card(**changes: Any) -> ModelCard:
    given = {
        "name": "patents",
        "base_model": "BAAI/bge-base-zh-v1.5",
        "pooling": "cls",
        "query_prompt": "为这个句子生成表示以用于检索相关文章：",
        "passage_prompt": "",
        "dim": 768,
        "max_seq_length": 512,
        "training": {"loss": "triplet, margin 0.3"},
    }
    return ModelCard(**(given | changes))
