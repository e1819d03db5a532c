"""A run's patents as a benchmark, and models measured on it, as a user does both."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.commands import patent_embed_here

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_here")]
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
def benchmark(finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    _, out, _ = finished
    folder = tmp_path_factory.mktemp("benchmark") / "own"
    done = patent_embed_here("benchmark", out, folder, "--license", "CC0-1.0")
    assert "judgements: all queries" in done.stdout
    assert "no licence" not in done.stdout
    return folder


def test_models_are_compared_on_it(benchmark: Path, finished, tiny_model: Path, tmp_path: Path) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec-eval-terrier is not installed")
    _, out, _ = finished
    tuned = shutil.copytree(out / "model", tmp_path / "tuned")
    command = ("compare", tiny_model, tuned, "--benchmark", benchmark, "--output_dir", tmp_path / "out")
    done = patent_embed_here(*command)
    (folder,) = (tmp_path / "out/compare").iterdir()
    found = json.loads((folder / "metrics.json").read_text())
    names = [tiny_model.name, "tuned"]
    assert list(found["systems"]) == ["bm25", *(f"{name}{end}" for name in names for end in ("", " + bm25"))]
    parts = json.loads((benchmark / "benchmark.json").read_text())["parts"]
    assert sorted(path.stem for path in (folder / "qrels").iterdir()) == sorted(parts)
    for system, measured in found["systems"].items():
        run = pytrec_eval.parse_run((folder / "runs" / f"{system.replace(' + ', '-')}.run").open())
        for part in parts:
            qrels = pytrec_eval.parse_qrel((folder / "qrels" / f"{part}.qrels").open())
            theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut", "recip_rank", "map", "recall"}).evaluate(run)
            assert measured[part]["queries"] == len(qrels)
            for ours, name in THEIRS.items():
                # trec_eval leaves out a query for which nothing was found; here it counts 0, as with its option -c.
                mean = sum(theirs[query][name] for query in theirs) / len(qrels)
                assert measured[part]["metrics"][ours] == pytest.approx(mean, abs=1e-9), (system, part, ours)
    first = found["comparisons"][0]
    assert (first["system"], first["baseline"], first["split"]) == ("tuned", tiny_model.name, "test")
    pairs = {(each["system"], each["baseline"]) for each in found["comparisons"] if each["split"] == "test"}
    assert {("tuned", "bm25"), ("tuned + bm25", "tuned"), ("tuned + bm25", "bm25")} <= pairs
    interval = next(each for each in found["intervals"] if each["system"] == "tuned" and each["split"] == "test")
    assert interval["low"] <= interval["mean"] == found["systems"]["tuned"]["test"]["metrics"]["ndcg@10"]
    report, page = (folder / "report.md").read_text(), (folder / "report.html").read_text()
    assert report.startswith(f"# Retrieval compared on own: {tiny_model.name}, tuned")
    for text in (report, page):
        assert "nDCG@10 with 95 % intervals" in text
        assert "patent's family count as right answers" not in text
    assert "test: " in done.stdout
    assert patent_embed_here(*command).stdout.count("reused") == 8


def test_trec_files_on_the_patents_of_a_run(finished, tiny_model: Path, tmp_path: Path) -> None:
    _, out, _ = finished
    shutil.copytree(out, tmp_path / "moved")
    benchmark = tmp_path / "judged"
    benchmark.mkdir()
    number = json.loads(next((tmp_path / "moved/steps").glob("ingest-*/manifest.json")).read_text())["rows"]["patents"]
    import pyarrow.parquet as pq

    (ingest,) = (tmp_path / "moved/steps").glob("ingest-*")
    corpus = pq.read_table(next((ingest / "corpus").glob("*.parquet")))
    assert len(corpus) == number
    first, second = corpus["publication_number"].to_pylist()[:2]
    (benchmark / "qrels.txt").write_text(f"1 0 {first} 2\n1 0 {second} 1\n")
    (benchmark / "topics.tsv").write_text("1\t" + corpus["abstract"][0].as_py().replace("\t", " ") + "\n")
    command = ("compare", tiny_model, "--benchmark", benchmark, "--output_dir")
    patent_embed_here(*command, tmp_path / "moved")
    found = json.loads((tmp_path / "moved/compare" / f"judged-{tiny_model.name}/metrics.json").read_text())
    for system in ("bm25", tiny_model.name):
        assert found["systems"][system]["test"]["metrics"]["mrr@1000"] == 1.0  # its own abstract
    assert "no documents, so those of a run are meant" in patent_embed_here(*command, tmp_path / "new", check=2).stderr
