"""What the charts of report.html show."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from patent_embed.report.content import RunReport
from patent_embed.report.figures import curve_figures, data_figures, score_panels, slice_tables, time_figures
from patent_embed.report.markdown import write_report_md
from tests.evidence import full_report, world


@pytest.fixture(scope="module")
def report() -> RunReport:
    return full_report()


def path(chart: str, kind: str) -> np.ndarray:
    """The points of a path, (n, 2)."""
    found = re.search(rf'class="{kind}" d="M([^"Z]+)Z?"', chart)
    assert found is not None
    return np.array([point.split() for point in found[1].split("L")], np.float64)


def test_a_long_loss_curve_is_drawn_by_means(report: RunReport) -> None:
    loss, metric = curve_figures(report)
    assert loss["title"] == "Loss, means of 5 steps"  # 899 steps, at most 200 points
    assert len(path(loss["chart"], "line c0")) == 180
    assert metric["title"] == "nDCG@10 on val"
    short = dataclasses.replace(report, loss_curve=[(1, 0.9), (2, 0.8)])
    assert curve_figures(short)[0]["title"] == "Loss"


def test_the_loss_by_epoch_stands_in_where_no_step_was_kept(report: RunReport) -> None:
    titles = [figure["title"] for figure in curve_figures(dataclasses.replace(report, loss_curve=()))]
    assert titles == ["nDCG@10 on val", "Loss"]
    assert curve_figures(RunReport(results=[])) == []


def place(cosines: np.ndarray, report: RunReport) -> np.ndarray:
    """Where cosines lie on the axis that all encoders of a report share, 0 to 1."""
    rows = [result.rows("test") for result in report.results]
    known = [row["positive_similarity"].to_numpy() for row in rows]
    known += [
        np.array([cosine for row in rows for found in row["negative_similarities"].to_pylist() for cosine in found])
    ]
    every = np.concatenate(known)
    return (cosines - every.min()) / (every.max() - every.min())


def test_histograms_hold_every_pair_on_one_scale(report: RunReport) -> None:
    panels = score_panels(report.results)
    assert [panel["name"] for panel in panels] == ["base", "tuned"]
    for panel, result in zip(panels, report.results, strict=True):
        rows = result.rows("test")
        assert panel["medians"]["right answers"] == pytest.approx(np.median(rows["positive_similarity"].to_numpy()))
        drawn = 192 - path(panel["chart"], "area c0")[1:-1:2, 1]  # heights of the bins, from the bottom up
        assert len(drawn) == 40
        share = np.average(np.arange(40) + 0.5, weights=drawn) / 40
        assert share == pytest.approx(np.mean(place(rows["positive_similarity"].to_numpy(), report)), abs=0.02)
    axes = [re.findall(r'class="middle" x="[^"]+" y="208">([^<]+)<', panel["chart"]) for panel in panels]
    assert axes[0] == axes[1]
    assert score_panels([world(60, test=0.0).measured("base", 0.5)]) == []  # no test query


def test_the_largest_slices_come_first_and_the_rest_behind_a_click(report: RunReport) -> None:
    tables = {table["dimension"]: table for table in slice_tables(report.slices)}
    assert [row["value"] for row in tables["section"]["rows"]][:1] == ["A human necessities"]
    for table in tables.values():
        assert len(table["rows"]) <= 12
        shown = [row["slice"].queries for row in table["rows"]]
        assert not table["more"] or min(shown) >= max(row["slice"].queries for row in table["more"])
    assert slice_tables(None) == []


def test_what_the_training_read_has_a_chart_and_a_table(report: RunReport, tmp_path: Path) -> None:
    texts = {"all": 9120, "of families in val or test": 0}
    richer = dataclasses.replace(report, training_texts=texts, training_triplets={"own": 700, "citations": 41})
    charts = {figure["title"]: figure["chart"] for figure in data_figures(richer)}
    assert "citations" in charts["Triplets of the training, by source"]
    assert "of families in val or test" in charts["Texts of the training"]
    write_report_md(tmp_path / "report.md", richer)
    lines = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    assert any(re.fullmatch(r"\| of families in val or test *\| *0 *\|", line) for line in lines)


def test_what_there_is_none_of_has_no_chart(report: RunReport) -> None:
    poorer = dataclasses.replace(report, rejects={}, queries={}, data={"records": 3, "duplicates": 0})
    assert [figure["title"] for figure in data_figures(poorer)] == [
        "Records",
        "Patents, by split",
        "Queries, by source",
    ]
    assert "duplicates" not in data_figures(poorer)[0]["chart"]
    assert time_figures(RunReport(results=[])) == []
    (steps,) = time_figures(report)
    assert "train · 3.8 triplets/s" in steps["chart"]
    assert "ingest · reused" in steps["chart"]
