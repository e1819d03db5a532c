"""What an OpenAI-compatible endpoint sends, read without a client: bodies, streams, refusals in its own words.

Refusals come as HTTP errors, as 200 with an error inside, as pages for people, as the end of a stream. What one means
for the other requests follows from its status, its code and its words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from patent_embed.credentials import HIDDEN, redacted

LONGEST_WORDS = 300  # characters of an endpoint's words that are shown
_RETRIED = frozenset({408, 409, 425, 429})
_NOT_THERE = frozenset({404, 405, 410})
_QUOTA = re.compile(
    r"insufficient[ _-]?(?:quota|balance|funds|credits?)|exceeded your current quota|credit balance is too low|"
    r"billing[ _-](?:hard|not)|arrearage|余额不足|欠费|额度(?:不足|已用完)",
    re.IGNORECASE,
)
# Some say the same of a limit a minute, which passes.
_PASSES = re.compile(r"(?:retry|try again) (?:in|after)|per[ _-]minute|rate limit", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model[ _-]?not[ _-]?(?:found|exist|supported)|model\b.{0,120}?\b(?:not found|(?:does not|doesn't|not) exist)|"
    r"(?:unknown|no such|invalid) model\b|模型.{0,60}(?:不存在|无效)",
    re.IGNORECASE | re.DOTALL,
)
_TAG = re.compile(r"<(?:script|style)\b.*?</(?:script|style)>|<[^<>]{0,500}>", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True)
class Refusal:
    """Why a request has no answer.

    Attributes:
        error: as in ``Answer.error``: ``http_<status>``, ``malformed``, or ``error_body`` (200 and an error).
        words: the endpoint's own, short, without credentials.
        fatal: why no other request would fare better: ``unauthorized``, ``quota``, ``no_model``, ``not_there``; empty
            where one may.
        retried: whether the same request may have an answer a little later.
    """

    error: str
    words: str = ""
    fatal: str = ""
    retried: bool = False


def read_body(content: bytes) -> Any:
    """The JSON of a body, or the completion that a stream of events adds up to; None where it is neither."""
    try:
        return json.loads(content.decode())
    except (ValueError, RecursionError):
        text = content.decode(errors="replace")
        return _streamed(text) if re.match(r"\s*(?::|data:|event:|id:)", text) else None


def error_of(body: Any) -> Any:
    """The error that a body reports in place of an answer; None where it reports none."""
    if not isinstance(body, Mapping) or body.get("choices"):
        return None
    found = body.get("error") or body.get("errors") or body.get("detail")
    if found is None and ("message" in body or "msg" in body or "error_msg" in body):
        found = body
    return found


def refusal(status: int, content: bytes, key: str = "") -> Refusal | None:
    """What a response refuses, and why; None where its body holds what a completion holds.

    Args:
        status: of HTTP.
        content: the body as it came.
        key: is taken out of the words, whatever else of them is.
    """
    body = read_body(content)
    found = error_of(body)
    if status < 400 and found is None:
        return None if body is not None else Refusal("malformed", words_of(content, key), retried=True)
    code = _code(found) or _code(body)
    if status < 400 and code.isdigit() and 400 <= int(code) < 600:
        status = int(code)
    words = words_of(content, key)
    error = f"http_{status}" if status >= 400 else "error_body"
    told = f"{code} {words}"
    if status == 401:
        return Refusal(error, words, "unauthorized")
    if status == 402 or (status != 404 and _QUOTA.search(told) and not _PASSES.search(words)):
        return Refusal(error, words, "quota")
    if status < 500 and status != 429 and _NO_MODEL.search(told):
        return Refusal(error, words, "no_model")
    if status in _NOT_THERE:
        return Refusal(error, words, "not_there")
    return Refusal(error, words, retried=status in _RETRIED or status >= 500 or status < 400)


def words_of(content: bytes, key: str = "") -> str:
    """What a body says to people: the message of an error, the text of a page; one line, no credentials."""
    body = read_body(content[:100_000])
    text = next(_messages(error_of(body)), "") or next(_messages(body), "")
    if not text:
        page = content[:20_000].decode(errors="replace")
        title = re.search(r"<title[^>]{0,200}>([^<]{1,500})</title>", page, re.IGNORECASE)
        text = title[1] if title else _TAG.sub(" ", page)
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    text = text.replace(key, HIDDEN) if key else text
    return redacted(text)[:LONGEST_WORDS]


def _messages(found: Any, deep: int = 4) -> Iterator[str]:
    """Texts in an error, those under the names of messages first."""
    if isinstance(found, str) and found.strip():
        yield found
    elif isinstance(found, list) and deep:
        for each in found:
            yield from _messages(each, deep - 1)
    elif isinstance(found, Mapping) and deep:
        for name in ("message", "msg", "error_msg", "detail", "details", "error", "errors", "reason", "title"):
            where = found.get("loc") if name == "msg" else None  # of FastAPI: which field it is about
            place = f"{where[-1]}: " if isinstance(where, list) and where else ""
            yield from (f"{place}{text}" for text in _messages(found.get(name), deep - 1))


def _code(found: Any) -> str:
    if not isinstance(found, Mapping):
        return ""
    codes = [found.get(name) for name in ("code", "type", "status", "error_code")]
    return " ".join(str(code) for code in codes if isinstance(code, str | int) and not isinstance(code, bool)) or ""


def _streamed(text: str) -> Any:
    """What server-sent events add up to: a completion, or the error among them. None where they break off."""
    parts: dict[str, list[str]] = {}
    finish, usage, done = None, None, False
    for line in text.splitlines():
        if not line.startswith("data:"):
            continue
        data = line[len("data:") :].strip()
        if data == "[DONE]":
            done = True
            continue
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, Mapping):
            continue
        if error_of(event) is not None:
            return {"error": error_of(event)}
        usage = event.get("usage") or usage
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], Mapping) else {}
        finish = choice.get("finish_reason") or finish
        piece = choice.get("delta") or choice.get("message") or {}
        for name, each in piece.items() if isinstance(piece, Mapping) else ():
            if isinstance(each, str):
                parts.setdefault(name, []).append(each)
    if not (done or finish):
        return None
    message = {name: "".join(texts) for name, texts in parts.items()}
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage}
