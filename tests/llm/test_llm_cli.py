"""The whole job from the command line, with engines on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from patent_embed.queries.cache import read_query_cache
from tests.conftest import ROOT

pytest.importorskip("vllm")
pytestmark = pytest.mark.ray


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "pipelines/run.py", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)


def test_the_whole_job(tiny_llm: Path, tiny_model: Path, sample_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    # Noise as it comes is accepted here, so that there are queries of a model to train on.
    settings = ("min_chars=1", "max_chars=1000", "copy_chars=500", "export_cache=true", "max_tokens=24")
    settings += ("llm.batch_size=16", "llm.max_concurrent_batches=2", "llm.engine={max_num_seqs: 32}")
    done = run(
        *("--data_dir", sample_folder, "--output_dir", out, "--model_name", tiny_model, "--max_samples", "48"),
        *("--query_backend", "llm", "--llm_model", tiny_llm, "--num_epochs", "1"),
        *("--set", "run.publish=always"),
        *(word for setting in settings for word in ("--set", f"queries.{setting}")),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tokens used: output" in done.stdout
    summary = json.loads((out / "run_summary.json").read_text())
    assert summary["steps"]["queries"]["rows"] == {"queries": 48}
    (queries,) = (out / "steps").glob("queries-*/queries.parquet")
    rows = pq.read_table(queries).to_pylist()
    written = {row["publication_number"]: row["query"] for row in rows if row["source"] == "llm"}
    assert written
    assert read_query_cache(out / "llm_queries_cache.json") == written
    assert "## Queries by a model" in (out / "report.md").read_text()
    events = [json.loads(line) for line in (out / "progress.jsonl").read_text().splitlines()]
    assert [event["done"] for event in events if event["event"] == "generated"]


def test_a_model_that_is_not_there(sample_folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    done = run(
        *("--data_dir", sample_folder, "--output_dir", tmp_path, "--model_name", tiny_model),
        *("--query_backend", "llm", "--llm_model", tmp_path / "nothing"),
    )
    assert done.returncode == 2
    assert "no config.json" in done.stderr
    assert "--query_backend rules" in done.stderr
    assert "Traceback" not in done.stderr
