"""The query in a model's answer: what stands behind its drafts, in JSON of any of the usual shapes or in plain words.

Models that think write their drafts first, between marks of their family; a server that leaves the opening mark to the
chat template sends the closing one alone. So whatever stands before the last closing mark is a draft, and no query.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

_LOOKED_AT = 20_000  # characters at the end of an answer: a query stands there, and time is bounded
_OBJECTS = 64  # openings of objects, the last ones, that are tried
_DEEP = 3  # objects in objects that are looked into

_NAMES = r"(?:[a-z]{1,12}:)?(?:think|thinking|thoughts?|reason|reasoning|reflection|scratchpad|analysis|思考|推理)"
_CLOSED = re.compile(
    rf"</\s*{_NAMES}\s*>|<\|/{_NAMES}\|>|◁\s*/\s*{_NAMES}\s*▷|\[/think\]|"
    r"<\|end_of_(?:thought|thinking|reasoning)\|>|<\|begin_of_(?:solution|answer)\|>|"
    r"<\|channel\|>\s*final\s*<\|message\|>|<channel\|>|^\s*here is my response:",
    re.IGNORECASE | re.MULTILINE,
)
_OPENED = re.compile(
    rf"<{_NAMES}(?:\s[^<>]{{0,80}})?>|<\|{_NAMES}\|>|◁\s*{_NAMES}\s*▷|\[think\]|<\|begin_of_(?:thought|thinking)\|>|"
    r"<\|channel\|>\s*(?:analysis|commentary)|<\|channel>\s*thought",
    re.IGNORECASE,
)
# gpt-oss where the server leaves the special tokens of its format out.
_CHANNELS = re.compile(r"\A\s*analysis.*assistantfinal", re.DOTALL)
_WRAPPED = re.compile(
    r"</?(?:answer|response|output|final)>|<\|(?:begin|end)_of_(?:solution|answer|box)\|>|<\|(?:end|return|im_end)\|>|"
    r"^```\w*\s*$|```",
    re.IGNORECASE | re.MULTILINE,
)
# As models name what they were asked for, without case, blanks, hyphens and underscores.
_KEYS = (
    "query|searchquery|queries|searchqueries|question|keywords|q|检索语句|检索式|检索词|检索问题|检索查询|检索|"
    "查询语句|查询|搜索语句|搜索词|问题|关键词"
)
_KEY = re.compile(_KEYS)
_LISTS = ("queries", "searchqueries")  # of which the first is taken; other lists are key phrases
_OPENING = re.compile(r'\{\s*"')
_QUOTED = re.compile(
    rf"""[{{｛]\s*["'“”‘’]?(?:search[ _-]?)?(?:{_KEYS})["'“”‘’]?\s*[:：]\s*"""
    r"""["'“‘]([^\n]{1,600}?)["'”’]\s*,?\s*[}｝]""",
    re.IGNORECASE,
)
_TORN = re.compile(rf'\{{\s*"(?:search[ _-]?)?(?:{_KEYS})"\s*:\s*"((?:[^"\\]|\\.)*)', re.IGNORECASE)
_CONTINUED = re.compile(r'((?:[^"\\\n]|\\.)+)"\s*\}')
_BULLET = re.compile(r"^(?:[-*•]\s|\d+[.、)])\s*")
_LABEL = re.compile(
    r"^\W{0,4}(?:(?:search\s+)?query|检索语句|检索式|查询语句|查询|问题|关键词|keywords)\W{0,4}[:：]\**\s*",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok|got it)\b[^:：\n]{0,80}|here(?:'s| is| are)\b[^:：\n]{0,80}|"
    r"(?:好的|当然|可以|没问题|以下|下面|根据)[^:：\n]{0,60}(?:如下|语句|检索式|查询|问题|是|为))[:：]\s*",
    re.IGNORECASE,
)
_POLITE = re.compile(r"^(?:sure|certainly|of course|okay|ok|got it|好的|当然|没问题)[\s!.,。！，]*$", re.IGNORECASE)


def final_text(text: str) -> str:
    """An answer without its drafts: what follows the last closing mark, up to an opening one. Empty where all of it is
    a draft."""
    for pattern in (_CHANNELS, _CLOSED):
        ends = [match.end() for match in pattern.finditer(text)]
        text = text[ends[-1] :] if ends else text
    opened = _OPENED.search(text)
    return _WRAPPED.sub("", text[: opened.start()] if opened else text).strip()


def parse_answer(text: str) -> str:
    """The query in an answer, on one line; empty where there is none.

    It is in the last JSON object that holds one, also a torn one, or the first line that is neither a preamble nor a
    label.
    """
    text = final_text(text)[-_LOOKED_AT:]
    # A base model continues the opening of an object that the prompt ends with.
    if not text.startswith("{") and (continued := _CONTINUED.match(text)) and "{" not in continued[1]:
        return _unescaped(continued[1])
    for query in (_in_object(text), _last(_QUOTED, text), _last(_TORN, text)):
        if query:
            return query
    lines = [line for each in text.splitlines() if (line := each.strip())]
    for place, line in enumerate(lines):
        line = _LABEL.sub("", _BULLET.sub("", line))
        rest = _LABEL.sub("", _PREAMBLE.sub("", line))
        follows = place + 1 < len(lines)
        if not rest or (follows and (_POLITE.match(rest) or rest.endswith((":", "：")))):
            continue
        return "" if rest.startswith(("{", "[{")) else rest.strip("*").strip().strip("\"'“”‘’「」`").strip()
    return ""


def ends_in_object(text: str) -> bool:
    """Whether the last thing in ``text`` is a whole object with a query: an answer that a server took for a draft."""
    text = text.rstrip().removesuffix("```").rstrip()[-_LOOKED_AT:]
    found = [end for value, end in objects_in(text) if _query(value, _DEEP)]
    return bool(found) and found[-1] == len(text)


def _in_object(text: str) -> str:
    return next((query for value, _ in reversed(list(objects_in(text))) if (query := _query(value, _DEEP))), "")


def objects_in(text: str) -> Iterator[tuple[Any, int]]:
    """The outermost JSON objects in a text, and where each ends."""
    decoder, end = json.JSONDecoder(strict=False), 0
    for match in list(_OPENING.finditer(text))[-_OBJECTS:]:
        if match.start() < end:
            continue
        try:
            value, end = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        yield value, end


def _query(value: Any, deep: int) -> str:
    """The query in a JSON value, as whatever it is named there."""
    if not isinstance(value, dict) or not deep:
        return ""
    for name, each in value.items():
        key = re.sub(r"[\s_-]", "", name).lower()
        if _KEY.fullmatch(key):
            words = [word for word in each if isinstance(word, str)] if isinstance(each, list) else []
            text = words[0] if words and key in _LISTS else " ".join(words) if words else each
            if isinstance(text, str) and text.strip():
                return " ".join(text.split())
    return next((found for each in value.values() if (found := _query(each, deep - 1))), "")


def _last(pattern: re.Pattern[str], text: str) -> str:
    found = list(pattern.finditer(text))
    return _unescaped(found[-1][1]) if found else ""


def _unescaped(text: str) -> str:
    """What a JSON string holds; empty where it holds no text."""
    try:
        return " ".join(str(json.loads(f'"{text}"', strict=False)).split())
    except ValueError:
        return " ".join(text.split()) if "\\" not in text else ""
