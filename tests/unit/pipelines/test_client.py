"""What endpoints refuse, and how: one text or all of them, a model, a parameter, the form of an answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from pydantic import SecretStr

from patent_embed.queries.asking import Asking, Patent
from patent_embed.queries.store import Answer
from pipelines.backends.client import Client
from tests.openai_server import OpenAiServer, Reply, events, refusal
from tests.ray_local.endpoint import KEY, answer, corpus, settings

pytest.importorskip("openai")


PATENT = Patent("CN1A", "泵", "一种泵", "zh")


def ask(server: OpenAiServer, count: int, words: dict[int, str] | None = None, **api: Any) -> tuple[Any, Client]:
    """For each of ``count`` patents the answers of its chain, and the client that asked."""
    config = settings(server, **({"max_wait_s": 0.1} | api))
    asking = Asking("m", config, 1)

    async def all_of() -> tuple[list[list[Answer]], Client]:
        client = Client(asking, SecretStr(KEY))
        names = ("publication_number", "title", "abstract", "language")
        patents = [Patent(*(row[name] for name in names)) for row in corpus(count, words).to_pylist()]
        return await asyncio.gather(*(client.chain(asking.request(patent, 0)) for patent in patents)), client

    return asyncio.run(all_of())


def errors(chains: list[list[Answer]]) -> dict[str, int]:
    return dict(Counter(answer.error for chain in chains for answer in chain))


def test_one_refused_text_is_one_text() -> None:
    script = {
        "词甲": [refusal(403, f"your text was flagged, key {KEY}")],
        "词乙": [Reply(200, '{"error": {"message": "unsafe", "code": "content_policy"}}')],
        "词丙": [Reply(403, "<html><title>Forbidden by the gateway</title></html>", "text/html")],
        "词丁": [Reply(200, "<html><title>Log in</title></html>", "text/html")],
        "词戊": [Reply(200, '{"error": {"message": "slow down", "code": 429}}'), "ok"],
        "词己": [Reply(400, '{"error": {"message": "length of the prompt"}}')],
    }
    with OpenAiServer(script, answer) as server:
        chains, client = ask(server, 60, {4 * i: word for i, word in enumerate(script)}, retries=1)
        assert server.calls["词甲"] == 1
        assert server.calls["词丁"] == 2
    assert errors(chains) == {"": 55, "http_403": 2, "error_body": 1, "malformed": 1, "http_400": 1}
    said = {"http_403", "error_body", "malformed", "http_429", "http_400"}
    assert client.words.keys() == said
    assert client.words["malformed"] == "Log in"
    assert client.words["error_body"] == "unsafe"
    assert client.words["http_403"] == "your text was flagged, key ***"


@pytest.mark.parametrize("first", ["ok", "403"])
def test_403_is_fatal_where_nothing_else_ever_came(first: str) -> None:
    flagged = refusal(403, "your country is not supported")
    with OpenAiServer({"": ["ok" if first == "ok" else flagged, flagged]}, answer) as server:
        chains, _ = ask(server, 60, requests_in_flight=4)
        assert server.total == 60 if first == "ok" else server.total <= 24
    assert errors(chains).keys() == ({"", "http_403"} if first == "ok" else {"http_403", "forbidden"})


@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        (refusal(429, "You exceeded your current quota", code="insufficient_quota"), "quota", "exceeded your"),
        (Reply(402, '{"error": "pay"}'), "quota", "pay"),
        (refusal(404, "The model `m` does not exist", code="model_not_found"), "no_model", "`m` does not"),
        (Reply(400, '{"object": "error", "message": "Model Not Exist"}'), "no_model", "Model Not Exist"),
        (Reply(404, '{"detail": "Not Found"}'), "not_there", "Not Found"),
        (Reply(405, "<h1>Method Not Allowed</h1>", "text/html"), "not_there", "Method Not Allowed"),
        (refusal(401, f"Incorrect API key provided: {KEY}"), "unauthorized", "provided: ***"),
        (Reply(200, '{"error": {"message": "no such key", "code": 401}}'), "unauthorized", "no such key"),
    ],
)
def test_what_no_other_request_would_change_stops_all(reply: Reply, error: str, words: str) -> None:
    with OpenAiServer({"": [reply]}, answer) as server:
        chains, client = ask(server, 60)
        assert server.total == 1
    assert errors(chains) == {error: 60}
    assert words in client.words[error]
    assert KEY not in str(client.words)


def test_a_limit_a_minute_is_no_end() -> None:
    passing = refusal(429, "You exceeded your current quota. Please retry in 20s", code=429)
    with OpenAiServer({"": [passing, "ok"]}, answer) as server:
        chains, _ = ask(server, 5)
    assert errors(chains) == {"": 5}


def picky(body: dict[str, Any]) -> Reply | None:
    """As models that reason are served: other names, fewer parameters, streams only."""
    if "max_tokens" in body:
        told = (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        )
        return refusal(400, told, param="max_tokens", code="unsupported_parameter")
    if "seed" in body:
        return Reply(422, '{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}')
    if "temperature" in body:
        return refusal(400, "Unsupported value: 'temperature' does not support 0.7, only the default (1)")
    if not body.get("stream"):
        return refusal(400, "This model only support stream mode, please enable the stream parameter")
    content = answer(body["messages"][-1]["content"])
    return events(content[:9], content[9:])


def test_parameters_are_given_up_after_one_look() -> None:
    with OpenAiServer({}, answer, check=picky) as server:
        chains, client = ask(server, 30, extra_body={"reasoning_effort": "low"}, retries=0)
        assert server.total == 30 + 4
        last = server.bodies[-1]
    assert errors(chains) == {"": 30}
    assert {(each.prompt_tokens, each.output_tokens) for chain in chains for each in chain} == {(100, 10)}
    assert last["max_completion_tokens"] == 128
    assert last["reasoning_effort"] == "low"
    assert last["top_p"] == 0.9
    assert not {"max_tokens", "seed", "temperature"} & last.keys()
    said = "".join(client.words.values())
    room = "max_tokens is sent as max_completion_tokens"
    for change in (room, "seed is left out", "temperature is left out", "stream"):
        assert change in said


def test_a_value_that_is_refused_is_no_parameter_that_is() -> None:
    told = refusal(400, "max_tokens is too large: 128. This model supports at most 100 completion tokens")
    with OpenAiServer({"": [told]}, answer) as server:
        chains, _ = ask(server, 30)
        assert server.total == 30
    assert errors(chains) == {"http_400": 30}


def test_answers_as_models_of_today_give_them() -> None:
    script = {
        "词甲": ["thinking"],
        "词乙": ["drafts"],
        "词丙": ["cut", "ok"],
        "词丁": ["cut"],
        "词戊": [events('{"query": "一种能自己排掉积水', '的泵要怎样防冻保温0a1b2c"}')],
        "词己": [events('{"query": "torn', end=False), "ok"],
    }
    with OpenAiServer(script, answer) as server:
        chains, _ = ask(server, 40, {4 * i: word for i, word in enumerate(script)}, retries=1)
        rooms = [body["max_tokens"] for body in server.bodies if "词丙" in body["messages"][-1]["content"]]
        assert rooms == [128, 2048]
        assert server.calls["词丁"] == 2
        assert server.calls["词己"] == 2
    assert errors(chains) == {"": 39, "truncated": 3}
    asking = Asking("m", settings(server), 1)
    verdicts = [asking.verdict(asking.request(PATENT, 0), chain[-1]) for chain in chains]
    assert all(verdict.query or verdict.reject == "truncated" for verdict in verdicts)
    assert not any("draft" in verdict.query for verdict in verdicts)


def test_rejected_answers_are_asked_for_while_others_are_on_their_way() -> None:
    poor: list[str] = []

    def say(message: str) -> str:
        given = message.split("摘要: ")[1].split("\n")[0]
        if "词甲" in given and not poor:
            poor.append(given)
            return given[:60]  # copied
        return answer(message)

    with OpenAiServer({"词甲": ["ok"]}, say, delay=0.02) as server:
        chains, _ = ask(server, 60, {0: "词甲"}, requests_in_flight=2)
        second = server.times["词甲"][1]
        later = sum(time > second for times in server.times.values() for time in times)
    assert sorted(map(len, chains)) == [1] * 59 + [2]
    assert later >= 40
