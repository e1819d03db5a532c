"""Whatever an endpoint answers, it is an answer or a counted error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patent_embed.queries.answers import MOST_TOKENS, read_answer, retry_after
from patent_embed.queries.reading import parse_answer
from patent_embed.queries.store import SCHEMA

ERRORS = {"", "malformed", "no_choices", "empty_answer", "refused", "truncated", "reasoning_only"}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def completion(content: Any, usage: Any = None, finish: Any = "stop", **message: Any) -> Any:
    said = SimpleNamespace(content=content, **message)
    return SimpleNamespace(choices=[SimpleNamespace(message=said, finish_reason=finish)], usage=usage)


@given(body=JSON | st.fixed_dictionaries({"choices": st.lists(st.fixed_dictionaries({"message": JSON}), max_size=2)}))
def test_a_body_of_any_shape_is_an_answer(body: Any) -> None:
    answer = read_answer("key", body)
    assert answer.error in ERRORS
    assert bool(answer.text.strip()) != bool(answer.error)


@given(content=JSON, choices=st.none() | JSON, prompt=JSON, output=JSON)
@example(content="a\ud800b", choices=None, prompt=10**30, output=-5)
@example(content=[{"type": "text", "text": "one"}, {"type": "image"}, 7, None], choices=None, prompt=True, output="9")
@example(content=["\udfff", {"text": 3}], choices=None, prompt=float("nan"), output=float("inf"))
def test_nothing_is_raised_and_everything_is_counted(content: Any, choices: Any, prompt: Any, output: Any) -> None:
    response = completion(content, SimpleNamespace(prompt_tokens=prompt, completion_tokens=output))
    if choices is not None:
        response.choices = choices
    answer = read_answer("key", response)
    assert answer.error in ERRORS
    assert answer.error == "truncated" or bool(answer.text.strip()) != bool(answer.error)
    assert 0 <= answer.prompt_tokens <= MOST_TOKENS
    assert 0 <= answer.output_tokens <= MOST_TOKENS
    row = {name: getattr(answer, name) for name in SCHEMA.names}
    assert pa.Table.from_pylist([row], schema=SCHEMA)["text"].to_pylist() == [answer.text]
    assert isinstance(parse_answer(answer.text), str)


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ("upstream is busy", "malformed"),
        (None, "malformed"),
        (b"", "malformed"),
        ([], "malformed"),
        (SimpleNamespace(choices="text"), "malformed"),
        (SimpleNamespace(choices={}), "malformed"),
        (SimpleNamespace(choices=[]), "no_choices"),
        (SimpleNamespace(choices=["text"]), "empty_answer"),
        (completion(3), "malformed"),
        (completion({"query": "x"}), "malformed"),
        (completion([]), "empty_answer"),
        (completion("\ud800 \udfff"), "empty_answer"),
        (completion(["a", {"text": "b"}]), ""),
        ({"choices": [{"message": {"content": "a"}, "finish_reason": None}]}, ""),
        ({"error": {"message": "busy"}}, "malformed"),
        (completion('{"query": "a"}', finish="length"), "truncated"),  # whatever it says, it was not at its end
        (completion("", finish="length", reasoning_content="so"), "truncated"),
        (completion("", finish="content_filter"), "refused"),
        (completion(None, refusal="I cannot"), "refused"),
        (completion(None, reasoning_content="first, then"), "reasoning_only"),
        (completion("", reasoning="first, then"), "reasoning_only"),
        (completion(None, reasoning_content='{"query": "a"}, or else'), "reasoning_only"),
    ],
)
def test_answers_of_other_kinds(response: Any, error: str) -> None:
    assert read_answer("key", response).error == error


@given(st.text(max_size=40) | st.floats().map(str) | st.integers().map(str))
@example("1e400")
@example("-1e400")
@example("nan")
@example("Fri, 31 Dec 99999 23:59:59 GMT")
@example("Fri, 31 Dec 9999 23:59:59 -2359")
@example("Mon, 01 Jan 0001 00:00:00 +2359")
def test_a_pause_is_finite_and_not_negative(header: str) -> None:
    seconds = retry_after(header)
    assert seconds is None or 0 <= seconds < float("inf")


def test_pauses() -> None:
    assert retry_after("7") == 7
    assert retry_after("Fri, 31 Dec 1999 23:59:59 GMT") == 0
    assert retry_after("soon") is None
    assert retry_after(None) is None


def test_an_answer_that_was_filed_as_a_draft_is_read() -> None:
    answer = read_answer("key", completion(None, reasoning_content='so: {"query": "a"}'))
    assert parse_answer(answer.text) == "a"
