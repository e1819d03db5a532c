"""What an OpenAI-compatible endpoint answered, as an ``Answer``: whatever it is, nothing here raises.

Gateways and small servers send choices as text, content as a list or a number, counts that no prompt can have and dates
that no calendar knows. Each becomes an answer, or an error that is counted.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Mapping
from typing import Any

from patent_embed.queries.reading import ends_in_object
from patent_embed.queries.store import Answer

MOST_TOKENS = 10_000_000  # of one answer: no model reads or writes so many
_SURROGATE = re.compile("[\ud800-\udfff]")
_DRAFTS = ("reasoning_content", "reasoning", "thinking")  # where servers put them beside the content


def read_answer(key: str, response: Any) -> Answer:
    """The answer in a chat completion: a JSON object, as mappings or as objects of any attributes, or anything else.

    Errors: ``malformed``, ``no_choices``, ``empty_answer``, ``refused`` (by the model, or a filter of the endpoint),
    ``truncated`` (as long as it may be, whatever it holds), ``reasoning_only`` (a draft, and nothing after it). What
    was used is counted with each of them.
    """
    usage = _of(response, "usage")
    used = (_count(_of(usage, "prompt_tokens")), _count(_of(usage, "completion_tokens")))
    choices = _of(response, "choices")
    if not isinstance(choices, list):
        return Answer(key, "", "malformed", *used)
    if not choices:
        return Answer(key, "", "no_choices", *used)
    message, finish = _of(choices[0], "message"), _of(choices[0], "finish_reason")
    content = _text(_of(message, "content"))
    if content is None:
        return Answer(key, "", "malformed", *used)
    if finish == "length":
        return Answer(key, content, "truncated", *used)
    if finish == "content_filter":
        return Answer(key, "", "refused", *used)
    if content.strip():
        return Answer(key, content, "", *used)
    draft = next((text for name in _DRAFTS if (text := _text(_of(message, name)))), "")
    if draft.strip():
        # A server that takes all for a draft files the answer there, too: then its end is what was asked for.
        whole = ends_in_object(draft)
        return Answer(key, draft if whole else "", "" if whole else "reasoning_only", *used)
    refusal = _text(_of(message, "refusal"))
    return Answer(key, "", "refused" if refusal else "empty_answer", *used)


def _of(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)


def _text(content: Any) -> str | None:
    """The text of a message's content, which may come in parts; None where it is something else."""
    if isinstance(content, list):
        parts = [part if isinstance(part, str) else _of(part, "text") for part in content]
        content = "".join(part for part in parts if isinstance(part, str))
    if content is not None and not isinstance(content, str):
        return None
    return _SURROGATE.sub("", content or "")


def _count(value: Any) -> int:
    """A number of tokens; 0 where it is none, and at most ``MOST_TOKENS``, so that a limit of tokens still holds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return int(min(value, MOST_TOKENS))


def retry_after(header: str | None) -> float | None:
    """Seconds, finite and not negative, that a Retry-After header asks for: a number, or a date (RFC 9110, 10.2.3);
    None where it is neither."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError, IndexError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None
