"""Systems on a benchmark, without Ray: vectors are given, all other steps are the real ones, and so is the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patent_embed.artifacts import Outcome
from patent_embed.benchmark.making import Patent, make
from patent_embed.benchmark.mteb_task import MtebTask
from patent_embed.benchmark.writing import write_beir
from patent_embed.config.load import load_config
from patent_embed.errors import UserError
from patent_embed.evaluation.forgetting import general_texts
from patent_embed.folders import folder_at
from pipelines import publish
from pipelines.cli import main
from pipelines.compare_benchmark import BenchmarkComparison, benchmark_recipe, write_trec
from pipelines.engine import Context, Output, Runner, StepSpec
from pipelines.reporting import benchmark_report
from pipelines.steps.benchmark import load_benchmark
from pipelines.steps.evaluate import load_result
from tests.evidence import unit
from tests.unit.benchmark.test_mteb_task import Task, subset

WORDS = ("pump", "valve", "lamp", "gear", "belt", "wheel", "motor", "sensor", "blade", "frame")
THEIRS = {
    "ndcg@10": "ndcg_cut_10",
    "ndcg@100": "ndcg_cut_100",
    "mrr@1000": "recip_rank",
    "map@1000": "map",
    "recall@10": "recall_10",
    "recall@100": "recall_100",
    "recall@1000": "recall_1000",
}


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 patents, two of the same words each; every other one cites its twin and a stranger."""
    patents = []
    for n in range(90):
        text = " ".join(WORDS[(n // 2 * step + step) % 10] for step in (1, 3, 7)) + f" no {n // 2}"
        code = f"{'ABGH'[n // 2 % 4]}0{1 + n // 2 % 3}B1/00"
        cited = [f"P{n + 1}", f"P{(n + 31) % 90}"] if n % 2 == 0 else []
        patents.append(Patent(f"P{n}", f"title {text[:12]}", text, text, f"f{n}", "test", [code], (), cited))
    folder = tmp_path_factory.mktemp("made") / "twins"
    write_beir(folder, "twins", make(patents, {}, "test", ["citing"]), "CC0-1.0", {})
    return folder


def vectors(noise: float) -> object:
    """Work of an embedding step: a query is ``noise`` away from the twin of the patent that asks."""

    def work(context: Context) -> Outcome:
        found, rng = load_benchmark(context.inputs["benchmark"]), np.random.default_rng(1)
        base = {each: rng.normal(size=16) for each in sorted(found.documents["doc_id"].to_pylist())}
        passages = np.stack([base[each] for each in found.documents["doc_id"].to_pylist()])
        asked = np.stack([base[f"P{int(each[1:]) + 1}"] for each in found.queries["query_id"].to_pylist()])
        general = unit(np.random.default_rng(2).normal(size=(len(general_texts()), 16)))
        parts = {"passages": unit(passages), "queries": unit(asked + noise * rng.normal(size=asked.shape))}
        for name, part in (parts | {"general": general}).items():
            np.save(context.folder / f"{name}.npy", part)
        return Outcome(rows={"passages": len(passages), "queries": len(asked)}, report={"texts_per_s": 1.0})

    return work


def measured(recipe: BenchmarkComparison, output: Output, noise: dict[str, float]) -> Runner:
    """Run the recipe with given vectors in place of those of its models."""
    standing: dict[StepSpec, StepSpec] = {}
    for step in recipe.steps:
        inputs = {key: standing.get(each, each) for key, each in step.inputs.items()}  # type: ignore[call-overload]
        name = step.name.removeprefix("benchmark-embed-")
        work = vectors(noise[name]) if name in noise and name != step.name else step.work
        standing[step] = replace(step, inputs=inputs, work=work)
    runner = Runner(output, use_cache=True)
    runner.run(list(standing.values()))
    runner.results.made |= {step: runner.results.made[each] for step, each in standing.items()}
    return runner


def test_a_benchmark_from_folder_to_report(benchmark: Path, tiny_model: Path, tmp_path: Path) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec-eval-terrier is not installed")
    models = [str(shutil.copytree(tiny_model, tmp_path / name)) for name in ("base", "tuned")]
    config = load_config(options={"run.output_dir": str(tmp_path / "out"), "evaluation.distributed": False})
    recipe = benchmark_recipe(config, models, str(benchmark))
    assert list(recipe.systems) == ["bm25", "base", "base + bm25", "tuned", "tuned + bm25"]
    assert next(recipe.pairs(["test_in"])) == ("test", "tuned", "base")
    assert list(recipe.pairs(["test_in"]))[-1] == ("test_in", "tuned", "base")
    runner = measured(recipe, Output(folder_at(tmp_path / "out")), {"base": 3.0, "tuned": 0.5})
    results = [load_result(name, runner.results[step]) for name, step in recipe.systems.items()]
    tables = load_benchmark(runner.results[recipe.tables])
    report = benchmark_report(config, runner.results, tables, results, recipe.pairs(tables.splits[1:]))
    assert report.comparisons[0].verdict == "better"
    publish.write_report(tmp_path, report)
    write_trec(tmp_path, tables, {name: runner.results[step] for name, step in recipe.systems.items()})
    found = json.loads((tmp_path / "metrics.json").read_text())
    for system in recipe.systems:
        run = pytrec_eval.parse_run((tmp_path / "runs" / f"{system.replace(' + ', '-')}.run").open())
        assert all(asks not in ranked for asks, ranked in run.items())  # itself is no candidate
        for part in ("test", "test_in", "test_out"):
            qrels = pytrec_eval.parse_qrel((tmp_path / "qrels" / f"{part}.qrels").open())
            theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut", "recip_rank", "map", "recall"}).evaluate(run)
            ours = found["systems"][system][part]
            assert ours["queries"] == len(qrels) == len(theirs) > 10
            for metric, name in THEIRS.items():
                mean = sum(each[name] for each in theirs.values()) / len(theirs)
                assert ours["metrics"][metric] == pytest.approx(mean, abs=1e-9), (system, part, metric)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "nDCG@10 with 95 % intervals" in text
        assert "the grades are the gains of nDCG" in text
        assert "family count as right answers" not in text
    means = {(each["system"], each["split"]): each for each in found["intervals"] if each["metric"] == "ndcg@10"}
    assert means["tuned", "test_out"]["low"] < means["tuned", "test_out"]["mean"] < means["tuned", "test_out"]["high"]
    publish.say_results(report)


def test_a_task_as_an_object(tiny_model: Path, tmp_path: Path) -> None:
    """Its documents, queries and judgements are those that systems are measured on; no hub is asked."""
    corpus = [{"id": f"F{n}", "title": WORDS[n], "text": f"a {WORDS[n]} of steel"} for n in range(8)]
    queries = [{"id": f"Q{n}", "text": f"{WORDS[n]} of steel"} for n in range(4)]
    judged = {f"Q{n}": {f"F{n}": 1} for n in range(4)}
    task = MtebTask(Task(default=subset(corpus=corpus, queries=queries, relevant_docs=judged)))
    config = load_config(options={"run.output_dir": str(tmp_path / "out"), "evaluation.distributed": False})
    recipe = benchmark_recipe(config, [str(tiny_model)], task)
    assert recipe.name == "Made"
    runner, words = Runner(Output(folder_at(tmp_path / "out")), use_cache=True), recipe.systems["bm25"]
    runner.run([recipe.tables, words])
    assert load_result("bm25", runner.results[words]).per_query["ndcg@10"].to_pylist() == [1.0] * 4


def test_one_model_is_compared_with_bm25(benchmark: Path, tiny_model: Path, tmp_path: Path) -> None:
    config = load_config(options={"run.output_dir": str(tmp_path)})
    recipe = benchmark_recipe(config, [str(tiny_model)], str(benchmark))
    name = tiny_model.name
    fused = f"{name} + bm25"
    assert list(recipe.pairs(["test_in"])) == [
        *(("test", name, "bm25"), ("test", fused, name), ("test", fused, "bm25"), ("test_in", name, "bm25")),
    ]
    config = load_config(options={"run.output_dir": str(tmp_path), "evaluation.bm25": False})
    alone = benchmark_recipe(config, [str(tiny_model)], str(benchmark))
    assert (list(alone.systems), list(alone.pairs(["test_in"]))) == ([name], [])
    with pytest.raises(UserError, match="are not different models"):
        benchmark_recipe(config, ["a", "a"], str(benchmark))


def test_mistakes_are_told_in_one_line(
    benchmark: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (benchmark.parent / "bare").mkdir()
    for name in ("queries.jsonl", "qrels"):
        (benchmark.parent / "bare" / name).symlink_to(benchmark / name)
    for folder, says in (("bare", "holds no documents, so those of a run are meant"), ("absent", "is no folder")):
        command = ["compare", str(tiny_model), "--benchmark", str(benchmark.parent / folder)]
        assert main([*command, "--output_dir", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1
    assert main(["compare", str(tiny_model), "--benchmark", str(benchmark), "--data_dir", str(tmp_path)]) == 2
    assert "brings its own documents and queries, so --data_dir" in capsys.readouterr().err
    assert main(["benchmark", str(tmp_path), str(tmp_path / "new")]) == 2
    assert "holds no finished run" in capsys.readouterr().err
