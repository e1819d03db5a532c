"""What endpoints refuse, and how: one text or all of them, a key, a model, a parameter, the form of an answer."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from patent_embed.config.queries import QueriesConfig
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from pipelines.steps.queries import write_all
from tests.openai_server import OpenAiServer, Reply, refusal
from tests.ray_local.endpoint import KEY, answer, corpus, settings

pytest.importorskip("openai")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


def run(folder: Path, count: int, config: QueriesConfig, words: dict[int, str] | None = None) -> tuple[Any, Any]:
    (folder / "a").mkdir(exist_ok=True)
    outcome = write_all(folder / "a", corpus(count, words), config, None, folder_at(folder / "store"), 1)
    return pq.read_table(folder / "a" / "queries.parquet").to_pylist(), outcome.report


def stored(folder: Path) -> int:
    return sum(len(pq.read_table(path)) for path in (folder / "store").glob("*.parquet"))


def test_one_refused_text_is_one_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    script = {
        "词甲": [refusal(403, f"your text was flagged, key {KEY}")],
        "词乙": [Reply(200, '{"error": {"message": "unsafe", "code": "content_policy"}}')],
        "词丙": [Reply(403, "<html><title>Forbidden by the gateway</title></html>", "text/html")],
        "词丁": [Reply(200, "<html><title>Log in</title></html>", "text/html")],
        "词戊": [Reply(200, '{"error": {"message": "slow down", "code": 429}}'), "ok"],
    }
    words = {4 * i: word for i, word in enumerate(script)}
    with caplog.at_level(logging.WARNING), OpenAiServer(script, answer) as server:
        rows, report = run(tmp_path, 60, settings(server, retries=1, max_wait_s=0.1), words)
        assert server.calls["词甲"] == 1
        assert server.calls["词丁"] == 2
    assert report["errors"] == {"http_403": 2, "error_body": 1, "malformed": 1}
    assert report["sources"] == {"api": 56, "rules": 4}
    assert len(rows) == 60
    said = [record.getMessage() for record in caplog.records if "the endpoint said" in record.getMessage()]
    assert sorted(each.split("(")[1].split(")")[0] for each in said) == [
        "error_body",
        "http_403",
        "http_429",
        "malformed",
    ]
    assert "Log in" in "".join(said)
    assert "unsafe" in "".join(said)
    assert KEY not in "".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("count", [8, 60])
def test_403_for_everything_stops_the_run(tmp_path: Path, count: int) -> None:
    with OpenAiServer({"": [refusal(403, "your country is not supported")]}, answer) as server:
        with pytest.raises(UserError, match=r"refused every request \(403\): 'your country is not supported'"):
            run(tmp_path, count, settings(server, requests_in_flight=4))
        assert server.total <= 24


def test_answers_that_came_before_are_kept(tmp_path: Path) -> None:
    quota = refusal(429, "insufficient_quota", type="insufficient_quota")
    with OpenAiServer({"词甲": [quota]}, answer, delay=0.05) as server:
        with pytest.raises(UserError, match="no quota left"):
            run(tmp_path, 60, settings(server, requests_in_flight=4), {59: "词甲"})
        paid = server.total - 1
        assert paid > 0
        assert stored(tmp_path) == paid
        server.script = {}
        _, report = run(tmp_path, 60, settings(server), {59: "词甲"})
        assert report["reused_answers"] == paid


@pytest.mark.parametrize("key", ["sk-密钥", "sk-a\nb", "two words", "sk-\x7f"])
def test_a_key_that_no_header_takes_is_refused_before_anything(tmp_path: Path, key: str) -> None:
    with OpenAiServer({}, answer) as server:
        config = settings(server, key=SecretStr(key))
        with pytest.raises(UserError, match="that no HTTP header takes") as caught:
            run(tmp_path, 5, config)
        assert server.total == 0
    assert key not in str(caught.value)
