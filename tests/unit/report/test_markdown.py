import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from patent_embed.data import schemas
from patent_embed.evaluation import measure
from patent_embed.evaluation.comparison import compare
from patent_embed.evaluation.forgetting import compare_general
from patent_embed.evaluation.measure import EvalResult
from patent_embed.evaluation.slices import compare_slices, query_labels
from patent_embed.report.content import RunReport, verdict_line
from patent_embed.report.html import write_report_html
from patent_embed.report.markdown import write_report_md
from patent_embed.report.metrics_file import write_metrics
from patent_embed.report.model_card import ModelCard, usage_snippets, write_model_card
from patent_embed.report.terminal import comparison_table
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
        timings={"ingest": 1.5, "train": 75.0},
        reused={"ingest"},
        settings={"run": {"seed": 42}},
        versions={"torch": "2.13"},
    )


def terminal_columns(line: str) -> int:
    return sum(2 if "\u4e00" <= char <= "\u9fff" or char in "，（）" else 1 for char in line)


def test_terminal_table_fits_80_columns_whatever_the_names(report: RunReport) -> None:
    named = EvalResult("专利检索模型（微调后，第二版）实验一", "cosine", report.results[2].per_query)
    text = comparison_table([*report.results, named], report.comparisons)
    lines = text.splitlines()
    assert lines[0] == "test: 80 queries (llm, rules) against the whole corpus"
    assert max(map(terminal_columns, lines)) <= 80
    assert len({terminal_columns(line) for line in lines[1:6]}) == 1  # the columns stand below one another
    assert "…" in lines[5]
    assert "0.7" in lines[4]
    assert "tuned is better than base on test nDCG@10" in text


@pytest.mark.parametrize(
    ("gain", "said"), [(0.1, "tuned is better than base"), (-0.1, "tuned is worse than base"), (0.0, "no difference")]
)
def test_verdict_line(gain: float, said: str) -> None:
    comparison = compare(result("tuned", gain), result("base", 0.0))
    assert comparison is not None
    line = verdict_line(comparison)
    assert line.startswith(said)
    assert f"{gain:+.4f} [" in line
    assert line.endswith("p = 1.000, 80 queries" if gain == 0 else "p < 0.001, 80 queries")


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


def test_report_says_everything_it_was_given(tmp_path: Path, report: RunReport) -> None:
    write_report_md(tmp_path / "report.md", report)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for part in (
        "tuned is better than base",
        "## test: 80 queries (llm, rules)",
        "| llm | 40 |",
        "| records | 1,234 |",
        "| no_abstract | 17 |",
        "| train | 700 |",
        "| same_main_group | 1,800 |",
        "| 1 missing | 3 |",
        "2 of 1,001 anchors have no negative",
        "| 1 (kept) | 0.2345 | 0.7100 | 61.0 |",
        "| ingest (reused) | 1.5 s |",
        "seed: 42",
        "torch 2.13",
    ):
        assert part in text
    bm25 = next(line for line in text.splitlines() if line.startswith("| bm25"))
    assert bm25.endswith("| – | – |")  # its scores are no cosines
    assert "val:" not in text  # no such queries
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)


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


def test_a_regression_in_a_slice_is_said_beside_the_verdict(tmp_path: Path) -> None:
    report = regressed()
    write_report_md(tmp_path / "report.md", report)
    write_metrics(tmp_path / "metrics.json", report)
    write_model_card(tmp_path, card(), report)
    write_report_html(tmp_path / "report.html", report)
    _, verdict, second, third, *_ = (tmp_path / "report.md").read_text(encoding="utf-8").split("\n\n")
    assert verdict.startswith("**tuned is better than base")
    assert second.startswith("But tuned is worse than base in section G (")
    assert third.startswith("General sentence pairs: no change can be shown")
    (row,) = (line for line in (tmp_path / "report.md").read_text().splitlines() if line.startswith("| section: G |"))
    assert row.endswith("| worse |")
    assert second in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert f'<li class="worse">{second.split(";")[0]}' in (tmp_path / "report.html").read_text(encoding="utf-8")
    content = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    (part,) = (part for part in content["slices"] if part["value"] == "G")
    assert part["comparison"]["verdict"] == "worse"
    assert part["comparison"]["p_value"] < 0.05
    assert set(part["means"]) == {"base", "tuned"}
    assert [found["verdict"] for found in content["forgetting"]] == ["no difference"] * 3


def test_what_a_report_was_not_given_is_left_out(tmp_path: Path) -> None:
    write_report_md(tmp_path / "report.md", RunReport(results=[result("base", 0.0, source="llm")]))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# Retrieval before and after fine-tuning",
        "## test: 80 queries (llm) against the whole corpus",
    ]


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


def test_report_shows_what_became_of_a_models_answers(report: RunReport, tmp_path: Path) -> None:
    write_report_md(tmp_path / "report.md", report)
    assert "Queries by a model" not in (tmp_path / "report.md").read_text()  # cached and rule queries only
    queries = {
        "generated": 1200,
        "reused_answers": 30,
        "accepted_answers": 950,
        "rejected_answers": {"empty": 1, "title_copied": 279},
        "rejected_examples": {"empty": [""], "title_copied": ["如何实现`水泵`\n|？", "水泵"]},
        "errors": {"timeout": 4},
        "kinds": {"question": 900},
        "tokens": {"prompt": 480_000, "output": 30_000},
    }
    write_report_md(tmp_path / "report.md", dataclasses.replace(report, queries=queries))
    text = (tmp_path / "report.md").read_text()
    for line in (
        "| accepted | 950 |",
        "| rejected: title_copied | 279 |",
        "- title_copied: `如何实现'水泵' |？` `水泵`",
        "- empty: (empty)",
        "| timeout | 4 |",
        "| prompt | 480,000 |",
    ):
        assert line in text
