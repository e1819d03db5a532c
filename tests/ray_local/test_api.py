"""Queries from an endpoint that misbehaves in every way we know of: nothing is lost, nothing is paid for twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.config.queries import QueriesConfig
from patent_embed.data import sample
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.queries.answers import MOST_TOKENS
from patent_embed.queries.cache import read_query_cache
from pipelines.steps.queries import write_all
from tests.conftest import ROOT
from tests.openai_server import OpenAiServer
from tests.ray_local.endpoint import KEY, answer, corpus, settings

pytest.importorskip("openai")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


def run(folder: Path, table: pa.Table, config: QueriesConfig) -> tuple[list[dict[str, object]], dict[str, object]]:
    folder.mkdir(exist_ok=True)
    outcome = write_all(folder, table, config, None, folder_at(folder.parent / "store"), 1)
    return pq.read_table(folder / "queries.parquet").to_pylist(), outcome.report


FAULTS = {
    "甲": ["429", "429", "ok"],
    "乙": ["500 json", "ok"],
    "丙": ["500 text", "ok"],
    "丁": ["drop", "ok"],
    "戊": ["torn", "ok"],
    "己": ["no choices", "ok"],
    "庚": ["text", "ok"],
    "辛": ["empty", "ok"],
    "壬": ["slow", "ok"],
    "丑": ["drip", "ok"],
    "寅": ["number", "ok"],
    "卯": ["choices text", "ok"],
    "辰": ["absurd"],
    "巳": ["deep", "ok"],
    "午": ["surrogate"],
    "未": ["429 for ever", "ok"],
    "癸": ["400"],
    "子": ["500 text"],
}


def test_every_fault_is_survived_and_counted(tmp_path: Path) -> None:
    words = {3 * i: f"词{word}" for i, word in enumerate(FAULTS)}
    table = corpus(60, words)
    with OpenAiServer({f"词{word}": todo for word, todo in FAULTS.items()}, answer) as server:
        rows, report = run(tmp_path / "a", table, settings(server, timeout_s=1, retries=2))
        numbers = table["publication_number"].to_pylist()
        assert [row["publication_number"] for row in rows] == sorted(numbers)
        failed = {numbers[position]: word[1] for position, word in words.items() if word[1] in "癸子"}
        for row in rows:
            if row["publication_number"] in failed:
                assert row["source"] == "rules"
                assert row["note"] == {"癸": "http_400", "子": "http_500"}[failed[row["publication_number"]]]
            else:
                assert row["source"] == "api", row["note"]
        assert report["errors"] == {"http_400": 1, "http_500": 1}
        assert server.calls["词癸"] == 1  # what is wrong with a request stays wrong
        assert server.calls["词子"] == 3
        first, second, *_ = server.times["词甲"]
        assert second - first >= 1  # Retry-After
        assert report["generated"] == 60
        # Without choices, or empty: also paid. One says that it read 10^30 tokens, and wrote -5.
        assert report["tokens"] == {"output": 10 * 61, "prompt": 100 * 61 + MOST_TOKENS}

        # Only what failed is asked for again; an added patent costs one request. Nothing is slow but the machine.
        before = server.total
        rows_again, report = run(tmp_path / "b", table, settings(server, timeout_s=20, retries=0))
        assert rows_again == rows
        assert (report["generated"], report["reused_answers"], server.total - before) == (2, 58, 2)
        rows, report = run(tmp_path / "c", corpus(61, words), settings(server, timeout_s=20, retries=0))
        assert (report["generated"], len(rows)) == (3, 61)


def test_without_fallback_a_failed_patent_is_a_reject(tmp_path: Path) -> None:
    table = corpus(30, {4: "词癸"})
    with OpenAiServer({"词癸": ["400"]}, answer) as server:
        config = settings(server).model_copy(update={"fallback": "none"})
        rows, _ = run(tmp_path / "a", table, config)
    rejects = pq.read_table(tmp_path / "a" / "query_rejects.parquet").to_pylist()
    assert rejects == [{"publication_number": table["publication_number"][4].as_py(), "reason": "http_400"}]
    assert len(rows) == 29


def test_a_refused_key_stops_at_once_and_is_written_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with OpenAiServer({"": ["401"]}, answer) as server:
        with pytest.raises(UserError, match="refused the API key") as caught:
            run(tmp_path / "a", corpus(100), settings(server, requests_in_flight=4))
        assert server.total <= 8
    assert KEY not in f"{caught.value}{caught.value.__cause__}{caught.value.__context__}"
    assert KEY not in "".join(capfd.readouterr())
    assert not _files_with(KEY, [tmp_path, _ray_session()])


def test_the_key_of_a_good_run_is_written_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = None
    with OpenAiServer({}, answer) as server:
        config = settings(server)
        run(tmp_path / "a", corpus(20), config)
    assert KEY not in "".join(capfd.readouterr())
    assert KEY not in config.model_dump_json() + repr(config)
    assert not _files_with(KEY, [tmp_path, _ray_session()])


def test_many_requests_are_in_flight_and_limits_hold(tmp_path: Path) -> None:
    with OpenAiServer({}, answer, delay=0.3) as server:
        _, report = run(tmp_path / "a", corpus(200), settings(server, requests_in_flight=32))
        assert report["generated"] == server.total
        assert 16 <= server.most_at_once <= 32
    with OpenAiServer({}, answer) as server:
        rows, report = run(
            tmp_path / "b",
            corpus(30, dict.fromkeys(range(30), "新")),
            settings(server, max_total_tokens=1100, requests_in_flight=1),
        )
        assert server.total == 10
        assert Counter(row["source"] for row in rows) == {"api": 10, "rules": 20}
        assert report["errors"] == {"token_cap": 20}


def test_requests_a_minute(tmp_path: Path) -> None:
    with OpenAiServer({}, answer) as server:
        run(tmp_path / "a", corpus(20), settings(server, requests_per_minute=600))
        times = server.times[""]
        assert max(times) - min(times) >= 0.1 * (server.total - 1) * 0.9


def test_an_endpoint_that_is_not_there(tmp_path: Path) -> None:
    with OpenAiServer({}, answer) as server:
        config = settings(server, retries=0)
    with pytest.raises(UserError, match="did not answer 50 requests"):
        run(tmp_path / "a", corpus(100), config)
    with pytest.raises(UserError, match="OPENAI_API_KEY"):
        run(tmp_path / "b", corpus(5), QueriesConfig(backend="api"))


def test_the_whole_job_from_the_command_line(tiny_model: Path, sample_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    good = {item["abstract"]: sample.query(7, i) for i, item in enumerate(sample.generate(120, seed=7))}

    def say(message: str) -> str:
        given = message.split("摘要: ")[1].split("\n")[0]
        return json.dumps({"query": good[given][:40] + hashlib.md5(given.encode()).hexdigest()[:12]})

    scratch = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # Ray's sockets need short paths
    command = [sys.executable, "pipelines/run.py", "--data_dir", sample_folder, "--output_dir", out]
    command += ["--model_name", tiny_model, "--query_backend", "api", "--llm_model", "m", "--num_epochs", "1"]
    command += ["--max_samples", "60"]
    for setting in (
        *("queries.export_cache=true", f"queries.round_trip.encoder={tiny_model}", "queries.round_trip.k=120"),
        "run.publish=always",
    ):
        command += ["--set", setting]
    with OpenAiServer({}, say) as server:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url, "RAY_TMPDIR": str(scratch)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        total = server.total
    try:
        assert list(scratch.rglob("*.log"))
        assert KEY not in done.stdout + done.stderr
        assert not _files_with(KEY, [out, scratch])
    finally:
        shutil.rmtree(scratch)
    assert f"{total} answers generated, 0 reused" in done.stdout
    assert f"tokens used: output {10 * total:,}, prompt {100 * total:,}" in done.stdout
    assert "| accepted | " in (out / "report.md").read_text()
    summary = json.loads((out / "run_summary.json").read_text())
    cache = read_query_cache(out / "llm_queries_cache.json")
    (queries,) = (out / "steps").glob("queries-*/queries.parquet")
    rows = pq.read_table(queries).to_pylist()
    assert {row["publication_number"]: row["query"] for row in rows if row["source"] == "api"} == cache
    assert len(cache) > 50
    assert summary["config"]["queries"]["api"]["base_url"] == server.url


def _ray_session() -> Path:
    import ray

    return Path(ray._private.worker._global_node.get_session_dir_path())


def _files_with(text: str, folders: list[Path]) -> list[Path]:
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes():
                found.append(path)
    return found


# Kills.

DRIVER = """
import sys
from pathlib import Path
import ray
from tests.ray_local import endpoint
from patent_embed.config.queries import ApiConfig, QueriesConfig
from patent_embed.folders import folder_at
from pipelines.session import quiet_ray_data
from pipelines.steps.queries import write_all
address, url, folder = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
quiet_ray_data()
api = ApiConfig(base_url=url, key=endpoint.KEY, model="m", requests_in_flight=8)
config = QueriesConfig(backend="api", api=api)
write_all(Path(folder), endpoint.corpus(120), config, None, folder_at(Path(folder).parent / "store"), 1)
"""


def test_a_killed_driver_loses_only_what_was_in_flight(tmp_path: Path) -> None:
    import ray

    (tmp_path / "a").mkdir()
    with OpenAiServer({}, answer, delay=0.1) as server:
        address = ray.get_runtime_context().gcs_address
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, address, server.url, str(tmp_path / "a")], cwd=ROOT)
        try:
            _wait(lambda: server.total >= 70)
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
        asked_before = server.total
        stored = len(_stored(tmp_path / "store"))
        assert asked_before - 40 <= stored < 120
        server.delay = 0
        rows, report = run(tmp_path / "a", corpus(120), settings(server, requests_in_flight=8))
    print(f"answers before {stored}, generated after {report['generated']}, requests {server.total}")
    assert (report["reused_answers"], report["generated"]) == (stored, 120 - stored)
    assert {row["source"] for row in rows} == {"api"}
    assert len(rows) == 120


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    with OpenAiServer({}, answer, delay=0.1) as server:
        killed: list[int] = []

        def kill() -> None:
            _wait(lambda: server.total >= 40)
            killed.extend(_kill_workers("AskApi"))

        killer = threading.Thread(target=kill)
        killer.start()
        rows, report = run(tmp_path / "a", corpus(120), settings(server, requests_in_flight=8))
        killer.join()
        print(f"generated {report['generated']}, requests {server.total}")
        assert len(killed) == 1
        assert {row["source"] for row in rows} == {"api"}
        assert len(rows) == 120
        assert report["generated"] == 120
        assert 120 <= server.total <= 120 + 24  # what was in flight is asked again


def test_a_lost_node_is_made_up_for_by_another(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with OpenAiServer({}, answer, delay=0.1) as server:
        command = [sys.executable, "-m", "tests.node_loss", "api", server.url, str(tmp_path / "a")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        report = json.loads((tmp_path / "a" / "report.json").read_text())
        assert (report["lost_nodes"], report["nodes"]) == (1, 2)
        print(f"generated {report['generated']}, requests {server.total}")
        assert (report["sources"], report["generated"]) == ({"api": 120}, 120)
        assert 120 <= server.total <= 120 + 24  # what was in flight is asked again


def _wait(condition: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _kill_workers(name: str) -> list[int]:
    """Kill -9 the Ray workers below this very process that run ``name``."""
    import psutil

    found = [child for child in psutil.Process().children(recursive=True) if name in " ".join(child.cmdline())]
    for worker in found:
        worker.kill()
    return [worker.pid for worker in found]


def _stored(folder: Path) -> set[str]:
    return {key for path in folder.glob("*.parquet") for key in pq.read_table(path)["key"].to_pylist()}
