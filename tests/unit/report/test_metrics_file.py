"""metrics.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patent_embed.evaluation import measure
from patent_embed.report.content import RunReport
from patent_embed.report.metrics_file import write_metrics
from tests.unit.report.conftest import regressed


def test_metrics_json(tmp_path: Path, report: RunReport) -> None:
    write_metrics(tmp_path / "metrics.json", report)
    content = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    assert content["schema_version"] == 1
    assert list(content["systems"]) == ["bm25", "base", "tuned"]
    tuned = content["systems"]["tuned"]
    assert set(tuned) == {"scale", "val", "test"}
    assert set(tuned["test"]["metrics"]) == set(measure.METRICS)
    assert tuned["test"]["metrics"]["ndcg@10"] == pytest.approx(report.comparisons[0].system_mean)
    assert tuned["test"]["by_source"]["llm"]["queries"] == 40
    assert tuned["val"]["queries"] == 0
    assert tuned["val"]["metrics"]["ndcg@10"] is None
    assert content["comparisons"][0]["verdict"] == "better"


def test_a_regression_in_a_slice_is_written(tmp_path: Path) -> None:
    write_metrics(tmp_path / "metrics.json", regressed())
    content = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    (part,) = (part for part in content["slices"] if part["value"] == "G")
    assert part["comparison"]["verdict"] == "worse"
    assert part["comparison"]["p_value"] < 0.05
    assert set(part["means"]) == {"base", "tuned"}
    assert [found["verdict"] for found in content["forgetting"]] == ["no difference"] * 3
