"""Batches: every request in one, answers by id, and nothing submitted twice whenever the run is killed."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from patent_embed.config.queries import ApiConfig
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.queries.asking import Asking, Patent
from patent_embed.queries.control import Pair
from patent_embed.queries.grading import Judge
from patent_embed.queries.judging import Judging
from patent_embed.queries.store import QueryStore
from patent_embed.queries.writing import Written, write_queries
from pipelines.backends.batches import batch_backend
from tests.batch_server import BatchServer
from tests.conftest import ROOT
from tests.judges import knowing
from tests.openai_server import OpenAiServer
from tests.ray_local.endpoint import KEY, PLAIN, answer, corpus, settings

pytest.importorskip("openai")


def write(folder: Path, server: BatchServer, count: int, words: dict[int, str] | None = None, **api: Any) -> Written:
    asking = Asking("m", settings(server, batch=True, batch_poll_s=0.05, **api), 1)
    store = folder_at(folder)
    with batch_backend(asking, store) as backend:
        return write_queries(corpus(count, words), asking, {}, backend, QueryStore(store))


def graded(folder: Path, server: Any, count: int) -> list[int | None]:
    """Grades of generated patents for a query of each, and of the next patent."""
    rows = corpus(count).select(["publication_number", "title", "abstract", "language"]).to_pylist()
    patents = [Patent(*row.values()) for row in rows]
    queries = [PLAIN[each.abstract] for each in patents]
    pairs = [Pair(query, patents[(place + step) % count]) for place, query in enumerate(queries) for step in (0, 1)]
    judging = Judging("m", settings(server, batch=True, batch_poll_s=0.05), 1)
    store = folder_at(folder)
    with batch_backend(judging, store) as backend:
        return Judge(judging, backend, QueryStore(store)).grades(pairs)


def notes(folder: Path) -> list[Path]:
    return list(folder.glob("batch-*.json"))


def test_answers_are_merged_by_id_and_the_rest_is_counted(tmp_path: Path) -> None:
    def result(body: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any] | None:
        said = body["messages"][-1]["content"]
        if "词甲" in said:
            return {"status_code": 400, "body": {"error": {"message": "flagged"}}}
        if "词乙" in said:
            return None
        if "词丙" in said and body["max_tokens"] == 128:
            whole["choices"][0]["finish_reason"] = "length"
        return {"status_code": 200, "body": whole}

    with BatchServer(answer, result) as server:
        server.ready = True
        written = write(tmp_path, server, 40, {0: "词甲", 4: "词乙", 8: "词丙"})
        assert server.total == 1  # the test request, whose answer counts
        assert len(server.batches) == 2  # what was cut short had more room in the second
        assert len(server.requests()) == 40
        assert not notes(tmp_path)
        assert written.report["errors"] == {"http_400": 1, "lost": 1}
        assert written.report["rejected_answers"] == {"truncated": 1}
        assert written.report["sources"] == {"api": 38, "rules": 2}
        again = write(tmp_path, server, 40, {0: "词甲", 4: "词乙", 8: "词丙"})
        assert (again.report["reused_answers"], again.report["generated"]) == (39, 2)


def test_an_expired_batch_gives_what_it_has(tmp_path: Path) -> None:
    taken: list[int] = []

    def half(body: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any] | None:
        taken.append(0)
        return {"status_code": 200, "body": whole} if len(taken) % 2 else None

    with BatchServer(answer, half) as server:
        server.ready, server.status = True, "expired"
        written = write(tmp_path, server, 41)
    assert written.report["errors"] == {"batch_expired": 20}
    assert written.report["sources"] == {"api": 21, "rules": 20}


def test_a_refused_batch_says_why(tmp_path: Path) -> None:
    with BatchServer(answer) as server:
        server.ready, server.status = True, "failed"
        with pytest.raises(UserError, match=r"refused a batch of 39 requests: 'Enqueued token limit reached'"):
            write(tmp_path, server, 40)
    assert not notes(tmp_path)
    assert len(list(tmp_path.glob("*.parquet"))) == 1  # the test request was paid for


def test_an_endpoint_without_batches_says_so(tmp_path: Path) -> None:
    class Plain(OpenAiServer):
        def handle(self, http: Any) -> None:
            if http.path.endswith("/files"):
                http.rfile.read(int(http.headers["Content-Length"]))
                self._send(http, 404, '{"error": {"message": "no such page"}}')
            else:
                super().handle(http)

    with Plain({}, answer) as server, pytest.raises(UserError, match=r"takes no batches.*'no such page'"):
        write(tmp_path, server, 40)  # type: ignore[arg-type]


DRIVER = """
import sys
from pathlib import Path
from types import SimpleNamespace
from tests.unit.pipelines.test_batches import write
write(Path(sys.argv[2]), SimpleNamespace(url=sys.argv[1]), 40)
"""


@pytest.mark.parametrize("moment", ["after the endpoint answered", "before the endpoint answered"])
def test_a_killed_run_goes_on_with_its_batch(tmp_path: Path, moment: str) -> None:
    with BatchServer(answer) as server:
        server.hold_s = 0 if moment.startswith("after") else 60
        command = [sys.executable, "-c", DRIVER, server.url, str(tmp_path)]
        driver = subprocess.Popen(command, cwd=ROOT)
        try:
            if moment.startswith("after"):
                _wait(lambda: any('"batch-0"' in path.read_text() for path in notes(tmp_path)))
            else:
                _wait(lambda: bool(server.batches))
        finally:
            driver.kill()
            driver.wait()
        assert len(notes(tmp_path)) == 1
        server.hold_s, server.ready = 0, True
        written = write(tmp_path, server, 40)
        assert len(server.batches) == 1
        assert server.total == 1
        assert len(set(server.requests())) == len(server.requests()) == 39
    assert written.report["sources"] == {"api": 40}
    assert not notes(tmp_path)


def test_a_judge_that_is_killed_goes_on_with_its_batch(tmp_path: Path) -> None:
    with BatchServer(lambda message: knowing(message, PLAIN)) as server:
        command = [sys.executable, "-c", DRIVER.replace("write", "graded"), server.url, str(tmp_path)]
        driver = subprocess.Popen(command, cwd=ROOT)
        try:
            _wait(lambda: any('"batch-0"' in path.read_text() for path in notes(tmp_path)))
        finally:
            driver.kill()
            driver.wait()
        server.ready = True
        assert graded(tmp_path, server, 40) == [3, 0] * 40
        assert (len(server.batches), server.total) == (1, 1)
        assert len(set(server.requests())) == len(server.requests()) == 79
        assert graded(tmp_path, server, 40) == [3, 0] * 40
        assert (len(server.batches), server.total) == (1, 1)
    assert not notes(tmp_path)


def test_a_run_that_was_killed_before_its_batch_was_made_submits_it(tmp_path: Path) -> None:
    with BatchServer(answer) as server:
        server.ready = True
        asking = Asking("m", settings(server, batch=True), 1)
        row = corpus(1).to_pylist()[0]
        names = ("publication_number", "title", "abstract", "language")
        key = asking.request(Patent(*(row[name] for name in names)), 0).key
        folder_at(tmp_path).write("batch-x.json", f'{{"tag": "x", "number": "", "keys": ["{key}"]}}'.encode())
        written = write(tmp_path, server, 30)
    assert written.report["sources"] == {"api": 30}
    assert not notes(tmp_path)


def test_a_limit_of_tokens_and_batches_exclude_each_other() -> None:
    with pytest.raises(ValidationError, match="cannot stop a batch"):
        ApiConfig(batch=True, max_total_tokens=5)


def test_the_key_is_in_no_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "patent_embed"), BatchServer(answer) as server:
        server.ready, server.status = True, "failed"
        with pytest.raises(UserError):
            write(tmp_path, server, 30)
    assert KEY not in caplog.text
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_the_key_is_in_no_note_that_waits(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def result(body: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
        seen.extend(path.read_bytes() for path in notes(tmp_path))
        return {"status_code": 200, "body": whole}

    with BatchServer(answer, result) as server:
        server.ready = True
        write(tmp_path, server, 30)
    assert seen
    assert not any(KEY.encode() in each for each in seen)


def _wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
