from __future__ import annotations

import base64
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from patent_embed.errors import UserError
from patent_embed.serving.app import create_app
from patent_embed.serving.engine import Engine
from patent_embed.serving.guard import Limits
from patent_embed.serving.judgements import JudgementLog
from patent_embed.serving.live import Live
from tests.serving import engine, records

TOKEN = "a secret of this test"


@pytest.fixture
def live(served: Engine, tmp_path: Path) -> Live:
    return Live(lambda output: served, "first", judgements=JudgementLog(tmp_path / "log.jsonl"))


@pytest.fixture
def client(live: Live) -> Iterator[TestClient]:
    with TestClient(create_app(live, Limits()), base_url="http://127.0.0.1") as client:
        yield client


def metrics(client: TestClient) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_search(client: TestClient, served: Engine) -> None:
    asked = {"query": "滤网", "systems": ["tuned", "bm25", "hybrid"], "count": 3, "ipc": ["G06T3"], "date_from": "2012"}
    found = client.post("/search", json=asked).json()
    assert list(found["systems"]) == ["tuned", "bm25", "hybrid"]
    first = found["systems"]["bm25"][0]
    begin, end = first["abstract_marks"][0]
    assert first["abstract"][begin:end] == "滤网"
    assert first["publication_date"] >= "2012"
    assert all(any(code.startswith("G06T3/") for code in hit["codes"]) for hit in found["systems"]["tuned"])
    assert len(found["systems"]["tuned"]) == 3
    assert set(first["ranks"]) == {"tuned", "base", "hybrid"} - {"base"}
    assert found["model"] == "digest of tuned"
    record = client.get("/patent", params={"number": first["publication_number"]}).json()
    row = served.corpus.row(first["publication_number"])
    assert record["claims"] == records(150)[row or 0]["claims"]

    known = metrics(client)
    assert known["patent_embed_requests_total", "/search", "200"] == 1
    assert known["patent_embed_stage_seconds_count", "encode"] == 1
    assert known["patent_embed_patents",] == 150


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/search", {"query": ""}, 400, "give a text"),
        ("/search", {"query": "a", "count": 0}, 400, "count: Input should be greater"),
        ("/search", {"query": "a", "ipc": ["<script>"]}, 400, "ipc.0: String should match pattern"),
        ("/search", {"query": "a", "date_from": "yesterday"}, 400, "date_from"),
        ("/search", {"query": "a" * 50_001}, 400, "query: String should have at most 50000"),
        ("/search", {"query": "a", "filter": 1}, 400, "filter: Extra inputs"),
        ("/v1/embeddings", {"input": [1, 2], "model": "tuned"}, 400, "check_embedding_ctx_length=False"),
        ("/v1/embeddings", {"input": [], "model": "tuned"}, 400, "input has 0 texts"),
        ("/v1/embeddings", {"input": "a", "model": "bge"}, 400, "ask for one of tuned, tuned-query, tuned-document"),
        ("/v1/embeddings", {"input": "a", "model": "tuned", "dimensions": 33}, 400, "the model 'tuned' has 32"),
        ("/judgements", {"query": "a", "publication_number": "CN", "relevant": True}, 404, "no such patent"),
        ("/reload", {}, 403, "server with one"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, path: str, body: dict[str, Any], status: int, said: str) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_embeddings_carry_the_prompt_that_was_asked_for(client: TestClient, served: Engine) -> None:
    texts = [f"带滤网的水泵{n}" for n in range(70)]  # several pieces
    expected = {
        kind: served.models["tuned"].encoder.submit(texts, kind).result().vectors for kind in ("query", "passage")
    }
    for asked, kind in (
        ({"model": "tuned"}, "passage"),
        ({"model": "tuned-document"}, "passage"),
        ({"model": "tuned-query"}, "query"),
        ({"model": "tuned", "input_type": "query"}, "query"),
        ({"model": "tuned-query", "input_type": "search_document"}, "passage"),
    ):
        found = client.post("/v1/embeddings", json={"input": texts, "user": "x", **asked}).json()
        vectors = np.array([each["embedding"] for each in found["data"]])
        assert np.abs(vectors - expected[kind]).max() < 1e-5
        assert [each["index"] for each in found["data"]] == list(range(70))
        assert found["usage"]["prompt_tokens"] > 70 * 8
    coded = client.post(
        "/v1/embeddings", json={"input": texts[0], "model": "tuned", "encoding_format": "base64", "dimensions": 8}
    ).json()["data"][0]["embedding"]
    short = np.frombuffer(base64.b64decode(coded), "<f4")
    whole = expected["passage"][0][:8]
    assert short == pytest.approx(whole / np.linalg.norm(whole), abs=1e-5)
    long = client.post("/v1/embeddings", json={"input": ["泵" * 300, "泵"], "model": "base"}).json()
    assert long["texts_at_limit"] == 1
    assert {each["id"] for each in client.get("/v1/models").json()["data"]} >= {"tuned-query", "base-document", "base"}


def test_judgements_are_kept_and_exported(client: TestClient, live: Live) -> None:
    for number, relevant in (("CN000003A", True), ("CN000004A", False), ("CN000003A", None)):
        body = {"query": "水泵", "publication_number": number, "relevant": relevant, "system": "tuned", "rank": 2}
        answer = client.post("/judgements", json=body)
    assert answer.json() == {"judgements": 1}
    assert live.judgements is not None
    (kept,) = live.judgements.current()
    assert (kept.publication_number, kept.relevant, kept.model, kept.rank) == ("CN000004A", False, "digest of tuned", 2)
    name, _, number, relevance = client.get("/judgements/qrels").text.split()
    assert (number, relevance) == ("CN000004A", "0")
    assert client.get("/judgements/queries").text == f"{name}\t水泵\n"
    page = client.get("/", params={"q": "水泵"}).text
    assert page.count('data-relevant="false" aria-pressed="true"') == page.count('data-number="CN000004A"') > 0
    # What a form of another page can send without asking is no judgement.
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert client.post("/judgements", content="{}", headers={"content-type": kind}).status_code == 415


def test_the_openapi_document_names_every_route(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    pages = {"/", "/login", "/static/{name}", "/openapi.json", "/docs"}
    routes = {route.path for route in client.app._app.routes}  # type: ignore[attr-defined]
    assert set(document["paths"]) == routes - pages
    text = client.get("/docs").text
    assert all(path in text for path in document["paths"])
    references = [part.split('"')[0] for part in str(document).replace("'", '"').split("#/components/schemas/")[1:]]
    assert set(references) <= set(document["components"]["schemas"])


def test_a_token_is_asked_for(live: Live) -> None:
    with TestClient(create_app(live, Limits(token=TOKEN)), follow_redirects=False) as client:
        assert client.get("/health").status_code == 200
        wrong = [{"authorization": "Bearer other"}, {"authorization": f"Basic {TOKEN}"}, {"cookie": "patent_embed=x"}]
        for headers in ({}, *wrong):
            for path in ("/", "/metrics", "/docs", "/patent", "/judgements/qrels"):
                assert client.get(path, headers=headers).status_code == 401
        right = {"authorization": f"Bearer {TOKEN}"}
        assert client.get("/metrics", headers=right).status_code == 200
        assert client.get("/", headers={"accept": "text/html"}).headers["location"] == "/login"
        assert client.post("/login", data={"token": "wrong"}).status_code == 401
        entered = client.post("/login", data={"token": TOKEN})
        cookie = entered.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert client.get("/").status_code == 200  # the client keeps the cookie
        assert client.post("/reload", json={}).status_code == 403  # for which it does not do
        assert client.post("/reload", json={}, headers=right).status_code == 200


def test_another_name_for_this_machine_is_refused(live: Live) -> None:
    app = create_app(live, Limits())
    for name, status in (("evil.example", 403), ("localhost:8080", 200), ("[::1]:8080", 200), ("127.0.0.1", 200)):
        with TestClient(app) as client:
            assert client.get("/health", headers={"host": name}).status_code == status, name


def test_size_and_number_of_requests_are_bounded(live: Live, served: Engine) -> None:
    with TestClient(create_app(live, Limits(requests=2, body=1000)), base_url="http://localhost") as client:
        json = {"content-type": "application/json"}
        assert client.post("/search", content=b"x" * 1001, headers=json).status_code == 413
        parts = (b"x" * 400 for _ in range(3))
        assert client.post("/search", content=parts, headers=json).status_code == 413  # no length is told

        go, corpus, mask = threading.Event(), served.corpus, served.corpus.mask
        asked = {"json": {"query": "q"}}
        waiting = [threading.Thread(target=client.post, args=("/search",), kwargs=asked) for _ in range(2)]
        corpus.mask = lambda filters: (go.wait(), mask(filters))[1]  # type: ignore[method-assign]
        try:
            for each in waiting:
                each.start()
            while live.metrics.running._value.get() < 2:
                time.sleep(0.01)
            busy = client.post("/search", json={"query": "one more"})
            assert (busy.status_code, busy.headers["retry-after"]) == (503, "1")
            assert client.get("/health").status_code == 200
        finally:
            go.set()
            for each in waiting:
                each.join()
            corpus.mask = mask  # type: ignore[method-assign]
        assert client.post("/search", json={"query": "one more"}).status_code == 200


def test_every_answer_has_the_headers_that_a_browser_obeys(client: TestClient) -> None:
    for path in ("/", "/docs", "/login", "/health", "/nothing", "/static/search.js", "/static/../app.py"):
        answer = client.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in answer.headers
    assert client.get("/static/engine.py").status_code == 404


def test_another_run_is_taken_at_once_and_refused_when_its_checks_fail(
    served: Engine, tmp_path: Path, tiny_model: Path
) -> None:
    runs = {"first": served, "second": engine(tmp_path / "b", records(20), tiny_model)}
    tuned = served.models["tuned"]
    odd = type(tuned)(tuned.encoder, tuned.search, tuned.vectors, "odd", served.models["base"].checks)
    runs["odd"] = Engine(served.corpus, served._words, {"tuned": odd})

    def opened(output: str) -> Engine:
        if output not in runs:
            raise UserError(f"/a/path/of/this/machine/{output} holds no finished run")
        return runs[output]

    live = Live(opened, "first")
    with TestClient(create_app(live, Limits(token=TOKEN)), headers={"authorization": f"Bearer {TOKEN}"}) as client:
        for output, status, patents in (("second", 200, 20), ("odd", 409, 20), ("none", 409, 20), ("", 200, 20)):
            answer = client.post("/reload", json={"output": output})
            assert answer.status_code == status
            assert "/a/path" not in answer.text
            assert client.get("/health").json()["patents"] == patents
        assert client.post("/reload", json={"output": "first"}).json() == {"model": "digest of tuned", "patents": 150}
        known = metrics(client)
        assert (known["patent_embed_reloads_total", "done"], known["patent_embed_reloads_total", "refused"]) == (3, 2)
