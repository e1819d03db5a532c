"""Whether one system is better than another."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from patent_embed.data import schemas
from patent_embed.evaluation.comparison import compare
from patent_embed.evaluation.measure import EvalResult


def result_with(name: str, ndcg: np.ndarray, patents: list[str] | None = None) -> EvalResult:
    count = len(ndcg)
    columns = {field.name: pa.nulls(count, field.type) for field in schemas.PER_QUERY}
    columns |= {
        "publication_number": pa.array(patents or [f"CN{i:04d}" for i in range(count)], pa.string()),
        "query_no": pa.array(range(count), pa.int32()),
        "split": pa.array(["test"] * count, pa.string()),
        "headline": pa.array([True] * count),
        "ndcg@10": pa.array(ndcg),
    }
    return EvalResult(name, "cosine", pa.table(columns, schema=schemas.PER_QUERY))


def test_compare_says_better_worse_or_no_difference() -> None:
    rng = np.random.default_rng(10)
    base = rng.uniform(0, 0.8, 100)
    better = compare(result_with("tuned", base + rng.uniform(0, 0.2, 100)), result_with("base", base), seed=1)
    assert better is not None
    assert better.verdict == "better"
    assert better.p_value < 0.001
    assert better.low < better.difference < better.high
    assert better.difference == pytest.approx(better.system_mean - better.baseline_mean)
    worse = compare(result_with("tuned", base - rng.uniform(0, 0.2, 100)), result_with("base", base), seed=1)
    assert worse is not None
    assert worse.verdict == "worse"
    same = compare(result_with("tuned", base + rng.normal(0, 0.2, 100)), result_with("base", base), seed=1)
    assert same is not None
    assert same.verdict == "no difference"
    assert same.low < 0 < same.high
    few = compare(result_with("tuned", np.array([0.6, 0.7])), result_with("base", np.array([0.5, 0.5])), seed=1)
    assert few is not None
    assert few.verdict == "no difference"  # always better, but two queries prove nothing


def test_compare_needs_the_same_queries() -> None:
    ndcg = np.linspace(0, 1, 4)
    with pytest.raises(ValueError, match="not measured on the same test queries"):
        compare(result_with("a", ndcg), result_with("b", ndcg, patents=["CN1", "CN2", "CN3", "CN5"]))
    assert compare(result_with("a", ndcg), result_with("b", ndcg), split="val") is None
