"""Values inside nested objects, as APIs hand them out: what stands along a path, texts by language, claims in one text.

Nothing here raises for a value of an unexpected type: it counts as one that is not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

_MISSING = frozenset({"", "nan", "none", "null"})  # as tables and scripts write what is not there
_LARGEST = 10**20  # numbers of patents have up to 13 digits
_LONGEST_PREFACE = 80  # characters before the first claim: "What is claimed is:"


def items(value: Any) -> list[Any]:
    """The elements of a list, or the value as the only one; lists as Parquet writers of Avro and Hive nest them, too
    (``{"list": [{"element": ...}]}``), and in a text (``'[{"text": ...}]'``)."""
    if isinstance(value, str) and value.startswith(("[{", '{"')):
        value = _from_json(value)
    if isinstance(value, Mapping) and len(value) == 1 and isinstance(value.get("list"), list):
        value = [each["element"] if isinstance(each, Mapping) and "element" in each else each for each in value["list"]]
    if isinstance(value, list | tuple):
        return [each for each in value if each is not None]
    return [] if value is None else [value]


def _from_json(value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def found(value: Any, *path: str) -> list[Any]:
    """What stands at the end of a path of names; a list on the way stands for each of its elements."""
    here = items(value)
    for name in path:
        inside = (each.get(name) for each in here if isinstance(each, Mapping))
        here = [element for each in inside for element in items(each)]
    return here


def texts(values: Iterable[Any]) -> list[str]:
    """The texts and whole numbers among the values, as texts; without empty ones and repeats, in order."""
    return [text for text in dict.fromkeys(map(_text, values)) if text.lower() not in _MISSING]


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():  # a column of numbers in which one is missing
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST:
        return str(value)
    return value.strip() if isinstance(value, str) else ""


def text(value: Any, *path: str) -> str:
    """The first text at the end of a path; empty where there is none."""
    return next(iter(texts(found(value, *path))), "")


def localized(values: Iterable[Any]) -> list[dict[str, str]]:
    """Objects with ``text`` and ``lang`` or ``language``, and plain texts: ``[{"lang": "en", "text": ...}]``."""
    result = []
    for value in values:
        content = text(value, "text") if isinstance(value, Mapping) else text(value)
        if content:
            result.append({"lang": (text(value, "lang") or text(value, "language")).lower(), "text": content})
    return result


def preferred(values: Iterable[Any], inside: str = "text") -> list[str]:
    """The texts under ``inside`` of the Chinese object, else of the English one, else of the first."""
    of_language: dict[str, list[str]] = {}
    for value in values:
        content = texts(found(value, inside)) if isinstance(value, Mapping) else texts([value])
        language = (text(value, "lang") or text(value, "language")).lower()[:2]
        if content:
            of_language.setdefault(language, content)
    return of_language.get("zh", of_language.get("en", next(iter(of_language.values()), [])))


def numbered_claims(whole: str) -> list[str]:
    """Claims that stand in one text, each after its number: ``1. A … 2. The … of claim 1 …``; else the text alone."""
    starts: list[int] = []
    place = 0
    while True:
        # The number stands at the beginning, on a new line or after the end of a sentence: "of claim 1. 2. The".
        number = re.compile(rf"(?:^|(?<=[.;:。；：])\s*|\n\s*)({len(starts) + 1})\s?[.、)]\s*(?=\D)")
        next_one = number.search(whole, place)
        if next_one is None:
            break
        starts.append(next_one.start(1))
        place = next_one.end()
    if len(starts) < 2 or starts[0] > _LONGEST_PREFACE:
        return [whole.strip()] if whole.strip() else []
    return [whole[start:end].strip() for start, end in zip(starts, [*starts[1:], len(whole)], strict=True)]


def filled(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields without those that hold nothing."""
    return {name: value for name, value in fields.items() if value}
