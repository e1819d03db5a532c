"""What an OpenAI-compatible endpoint answered, as an ``Answer``: whatever it is, nothing here raises.

Gateways and small servers send choices as text, content as a list or a number, counts that no prompt can have and dates
that no calendar knows. Each becomes an answer, or an error that is counted.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from typing import Any

from patent_embed.queries.store import Answer

MOST_TOKENS = 10_000_000  # of one answer: no model reads or writes so many
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_answer(key: str, response: Any) -> Answer:
    """The answer in a chat completion, as the client hands it over: an object of any attributes, or a body's text.

    Errors: ``malformed``, ``no_choices``, ``empty_answer``. What was used is counted with each of them.
    """
    usage = getattr(response, "usage", None)
    used = (_count(getattr(usage, "prompt_tokens", 0)), _count(getattr(usage, "completion_tokens", 0)))
    choices = getattr(response, "choices", None)
    if not isinstance(choices, list):
        return Answer(key, "", "malformed", *used)
    if not choices:
        return Answer(key, "", "no_choices", *used)
    content = getattr(getattr(choices[0], "message", None), "content", None)
    if isinstance(content, list):  # parts, of which those of text count
        content = "".join(part for part in map(_part, content) if isinstance(part, str))
    if content is not None and not isinstance(content, str):
        return Answer(key, "", "malformed", *used)
    text = _SURROGATE.sub("", content or "")
    return Answer(key, text, "", *used) if text.strip() else Answer(key, "", "empty_answer", *used)


def _part(part: Any) -> Any:
    return part.get("text") if isinstance(part, dict) else getattr(part, "text", part)


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
