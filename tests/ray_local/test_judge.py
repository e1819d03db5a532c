"""A judge at an endpoint: one that judges well, one that throws dice, one whose run is killed."""

from __future__ import annotations

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
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.config.judge import JudgeConfig
from patent_embed.config.queries import ApiConfig, QueriesConfig
from patent_embed.data import sample
from patent_embed.folders import folder_at
from patent_embed.hashing import hash64
from patent_embed.queries.grading import IRRELEVANT
from pipelines.steps.queries import write_all
from tests.conftest import ROOT
from tests.judges import asked, dicing, knowing
from tests.openai_server import OpenAiServer
from tests.ray_local import endpoint
from tests.ray_local.endpoint import KEY, PLAIN

pytest.importorskip("openai")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
COUNT = 80
_BEGINNINGS = {abstract: query[:20] for abstract, query in PLAIN.items()}


def corpus() -> tuple[pa.Table, pa.Table]:
    codes = {item["publication_number"]: item["classifications"] for item in sample.generate(400, seed=5)}
    table = endpoint.corpus(COUNT)
    numbers = table["publication_number"]
    sections = pa.array([[each["code"] for each in codes[number]] for number in numbers.to_pylist()])
    return table.append_column("codes", sections), pa.table({"publication_number": numbers, "family": numbers})


def settings(url: str, **judge: Any) -> QueriesConfig:
    api = ApiConfig(base_url=url, key=KEY, model="m", max_wait_s=2, requests_in_flight=8)
    return QueriesConfig(backend="api", api=api, judge=JudgeConfig(enabled=True, controls=60, **judge))


def both(judge: Callable[[str], str], misses: str = "") -> Callable[[str], str]:
    """Writes queries, and judges; for abstracts with ``misses`` it writes a query of another patent."""

    def say(message: str) -> str:
        if asked(message)[0]:
            return judge(message)
        if misses and misses in message:
            return json.dumps({"query": f"想找能把咖啡豆磨成粉末的家用机器{hash64(message, 0, 'query') % 10**8}"})
        return endpoint.answer(message)

    return say


def good(message: str) -> str:
    return knowing(message, _BEGINNINGS)


def run(folder: Path, config: QueriesConfig) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    table, splits = corpus()
    outcome = write_all(folder, table, config, None, folder_at(folder.parent / "store"), 1, splits=splits)
    return pq.read_table(folder / "queries.parquet").to_pylist(), outcome.report


def test_a_good_judge_drops_what_misses_its_patent_and_costs_nothing_twice(tmp_path: Path) -> None:
    with OpenAiServer({}, both(good, misses="本实用新型")) as server:
        rows, report = run(tmp_path / "a", settings(server.url))
        about = report["judge"]
        dropped = about["dropped"]
        assert about["why_not"] == ""
        assert (about["control"]["found"], about["control"]["taken"]) == (30, 0)
        assert about["grades"] == {"0": dropped, "3": COUNT - dropped}
        assert 5 < dropped < COUNT - 5
        assert Counter(row["note"] for row in rows) == {"": COUNT - dropped, IRRELEVANT: dropped}
        assert len(pq.read_table(tmp_path / "a" / "grades.parquet")) == COUNT
        temperatures = {body["temperature"] for body in server.bodies if asked(body["messages"][-1]["content"])[0]}
        assert temperatures == {0.0}
        total = server.total
        again, report = run(tmp_path / "b", settings(server.url))
        assert (again, server.total) == (rows, total)
        assert report["judge"]["reused_answers"] == about["asked"]
        # Another bar asks for nothing, another judge for all grades and no query.
        run(tmp_path / "c", settings(server.url, min_grade=1))
        assert server.total == total
        run(tmp_path / "d", settings(server.url, model="n"))
        assert server.total == total + about["asked"]
        assert {body["model"] for body in server.bodies[total:]} == {"n"}


def test_a_judge_that_throws_dice_is_not_heard(tmp_path: Path) -> None:
    with OpenAiServer({}, both(dicing, misses="本实用新型")) as server:
        rows, report = run(tmp_path / "a", settings(server.url))
        assert "is below queries.judge.min_precision" in report["judge"]["why_not"]
        assert report["judge"]["pairs"] == 0
        assert {row["note"] for row in rows} == {""}
        assert server.total == COUNT + report["judge"]["asked"]
        assert report["judge"]["asked"] <= 60


DRIVER = """
import sys
from pathlib import Path
import ray
from pipelines.session import quiet_ray_data
from tests.ray_local import test_judge
address, url, folder = sys.argv[1:]
ray.init(address=address, log_to_driver=False)
quiet_ray_data()
test_judge.run(Path(folder), test_judge.settings(url))
"""


def test_a_killed_driver_goes_on_with_its_grades(tmp_path: Path) -> None:
    import ray

    pairs: Counter[tuple[str, str]] = Counter()
    killed = threading.Event()

    def judge(message: str) -> str:
        pairs[asked(message)] += 1  # the server's threads share one interpreter: at worst a count is lost
        if sum(pairs.values()) > 90:
            killed.wait(180)  # the job must not end before the kill, however busy the machine is
        return good(message)

    (tmp_path / "a").mkdir()
    with OpenAiServer({}, both(judge)) as server:
        address = ray.get_runtime_context().gcs_address
        driver = subprocess.Popen([sys.executable, "-c", DRIVER, address, server.url, str(tmp_path / "a")], cwd=ROOT)
        try:
            end = time.monotonic() + 180
            while sum(pairs.values()) < 90:  # the control is behind it, the own abstracts are under way
                assert time.monotonic() < end
                time.sleep(0.02)
            time.sleep(1)  # what was answered is stored
        finally:
            driver.send_signal(signal.SIGKILL)
            driver.wait()
            killed.set()
        time.sleep(1)  # what was in flight comes to its end
        before = Counter(pairs)
        rows, report = run(tmp_path / "a", settings(server.url))
    about = report["judge"]
    print(f"grades before {sum(before.values())}, asked after {about['asked']}, reused {about['reused_answers']}")
    assert report["reused_answers"] == COUNT  # no query is written twice
    assert (about["pairs"], about["ungraded"], about["why_not"]) == (COUNT, 0, "")
    assert about["reused_answers"] >= 60
    twice = sum(count - 1 for count in pairs.values())
    assert about["asked"] > 0
    assert twice <= 8 + 4 + 1  # those in flight, and a block that was not handed on
    assert about["asked"] == sum(pairs.values()) - sum(before.values())
    assert {row["note"] for row in rows} == {""}


def test_a_whole_run_takes_answers_out_of_the_negatives_and_trains_on_them(
    tiny_model: Path, sample_folder: Path, tmp_path: Path
) -> None:
    records = list(sample.generate(120, seed=7))
    written = {item["abstract"]: sample.query(7, i)[:40] for i, item in enumerate(records)}
    queries = tuple(written.values())

    def say(message: str) -> str:
        query, abstract = asked(message)
        if not query:
            given = message.split("摘要: ")[1].split("\n")[0]
            return json.dumps({"query": written[given] + f"{hash64(given, 0, 'mark') % 10**8}"})
        stranger = query.startswith(queries) and not query.startswith(written[abstract])
        return json.dumps({"grade": 2 * (hash64(message, 0, "answer") % 2)}) if stranger else knowing(message, written)

    out = tmp_path / "out"
    scratch = Path(tempfile.mkdtemp(prefix="r", dir="/tmp"))  # Ray's sockets need short paths
    command: list[str | Path] = [sys.executable, "pipelines/run.py", "--data_dir", sample_folder, "--output_dir", out]
    command += ["--model_name", tiny_model, "--query_backend", "api", "--llm_model", "m", "--num_epochs", "1"]
    command += ["--loss", "infonce", "--batch_size", "32"]
    for setting in (
        "queries.judge.enabled=true",
        "queries.judge.controls=40",
        "relevance.judge=1",
        "run.publish=always",
    ):
        command += ["--set", setting]
    with OpenAiServer({}, say) as server:
        env = os.environ | {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": server.url, "RAY_TMPDIR": str(scratch)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        total = server.total
        again = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)
        assert again.returncode == 0, again.stdout + again.stderr
        assert server.total == total
    shutil.rmtree(scratch)
    (graded,) = (out / "steps").glob("negatives-graded-*")
    (drawn,) = (path for path in (out / "steps").glob("negatives-*") if path != graded)
    grades = pq.read_table(graded / "grades.parquet").to_pylist()
    answers = {(row["publication_number"], row["patent"]) for row in grades if row["grade"] >= 2}
    assert len(answers) > 20
    before, after = (
        {(row["publication_number"], row["negative"]) for row in pq.read_table(at / "negatives.parquet").to_pylist()}
        for at in (drawn, graded)
    )
    assert before - after == answers
    (relevance,) = (out / "steps").glob("relevance-*/relevance.parquet")
    pairs = pq.read_table(relevance).to_pylist()
    assert {(row["publication_number"], row["patent"]) for row in pairs} == answers
    assert {(row["source"], round(row["grade"], 3)) for row in pairs} == {("judge", 0.667)}
    assert f"{len(answers):,} candidates are answers, and no negatives" in done.stdout
    assert "judge: precision 1.00, recall 1.00" in done.stdout
    assert "triplets by source: own" in done.stdout
    assert "precision 1.00, recall 1.00" in (out / "report.md").read_text(encoding="utf-8")
