"""Values of any type to texts: numbers, dates, paragraphs, languages, and JSON or Python text inside strings.

Nothing here raises for a value of an unexpected type: it is no text.
"""

from __future__ import annotations

import ast
import datetime as dt
import math
import warnings
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from patent_embed.data.cleaning import detect_language
from patent_embed.data.encodings import decode

DEEPEST = 12  # levels of lists and objects that are looked into
_LARGEST_LITERAL = 1 << 20  # characters of a Python literal
_BRACKETS = {"[": "]", "{": "}", '"': '"', "(": ")"}
_LANGUAGE_KEYS = ("lang", "language", "@lang", "@xml:lang", "xml:lang", "lang_code", "languageCode", "locale", "语言")
_TEXT_KEYS = (
    *(
        "text",
        "value",
        "$",
        "#text",
        "content",
        "p",
        "para",
        "paragraph",
        "paragraphs",
        "_value",
        "@value",
        "_",
        "内容",
    ),
    *(
        "abstract",
        "title",
        "claim",
        "claims",
        "claim-text",
        "claim_text",
        "name",
        "body",
        "data",
        "string",
        "localized",
    ),
)
_CHINESE = frozenset(
    ("zh", "cn", "zho", "chi", "chs", "cht", "chinese", "tw", "hk", "中文", "简体中文", "繁体中文", "汉语")
)
_ENGLISH = frozenset(("en", "eng", "english", "us", "gb", "英文", "英语"))
_OTHERS = frozenset(
    (
        *("ja", "jp", "jpn", "japanese", "ko", "kr", "kor", "korean", "de", "deu", "ger", "german", "fr", "fra", "fre"),
        *("french", "es", "spa", "spanish", "it", "ita", "pt", "por", "ru", "rus", "nl", "nld", "sv", "fi", "da", "nb"),
        *("nn", "pl", "cs", "sk", "hu", "tr", "el", "he", "ar", "vi", "th", "uk", "bg", "ro", "lv", "lt", "et", "sl"),
        *("hr", "ca", "und", "mul", "original", "日文", "韩文", "德文", "法文", "原文"),
    )
)
_BEFORE_A_LANGUAGE = ("title", "abstract", "text", "name", "claims", "description", "value", "content")  # "title_zh"


class Version(NamedTuple):
    """A piece of text and the language that its source gives it, as it is written there; empty where it gives none."""

    language: str
    text: str


@lru_cache(maxsize=1 << 10)
def language_of(code: str) -> str:
    """``zh``, ``en``, another code that is known, or nothing where the text is no language (``zh-Hans``, ``CHS``)."""
    folded = code.strip().lower().replace("_", "-")
    first, _, last = folded.partition("-")
    for name in (folded, first, last if first in _BEFORE_A_LANGUAGE else ""):
        if name in _CHINESE:
            return "zh"
        if name in _ENGLISH:
            return "en"
        if name in _OTHERS:
            return name
    return ""


def text_of(value: Any) -> str:
    """The text of a value: Chinese where there is any, else English, else what comes first; paragraphs are joined."""
    if type(value) is str:
        unfolded = unfold(value)
        if type(unfolded) is str:
            return unfolded
        value = unfolded
    return "\n".join(_chosen(list(versions(value))))


def paragraphs_of(value: Any) -> list[str]:
    """The same, paragraph by paragraph, or claim by claim."""
    return _chosen(list(versions(value)))


def versions(value: Any, language: str = "", depth: int = 0) -> Iterator[Version]:
    """All texts in a value, in order, with their languages."""
    if depth > DEEPEST or value is None:
        return
    if isinstance(value, str):
        unfolded = unfold(value)
        if isinstance(unfolded, str):
            if unfolded.strip():
                yield Version(language, unfolded)
        else:
            yield from versions(unfolded, language, depth + 1)
    elif isinstance(value, Mapping):
        yield from _of_mapping(value, language, depth + 1)
    elif isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and language_of(value[0]):
        yield from versions(value[1], value[0], depth + 1)  # an entry of a map, as Parquet hands it out
    elif isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from versions(each, language, depth + 1)
    elif text := scalar_text(value):
        yield Version(language, text)


def _of_mapping(value: Mapping[Any, Any], language: str, depth: int) -> Iterator[Version]:
    told = next((value[key] for key in _LANGUAGE_KEYS if isinstance(value.get(key), str) and value[key]), language)
    for key in _TEXT_KEYS:
        if value.get(key) not in (None, "", [], {}):
            yield from versions(value[key], told, depth)
            return
    filled = [(key, inner) for key, inner in value.items() if inner not in (None, "", [], {})]
    by_language = [(key, inner) for key, inner in filled if isinstance(key, str) and language_of(key)]
    if by_language:
        for key, inner in by_language:
            yield from versions(inner, key, depth)
    elif len(filled) == 1 and filled[0][0] not in _LANGUAGE_KEYS:
        yield from versions(filled[0][1], told, depth)


def _chosen(found: list[Version]) -> list[str]:
    """The texts of the language that is wanted most."""
    if not any(version.language for version in found):
        found = _told_apart(found)
    if not any(version.language for version in found):
        return [version.text for version in found]
    named = [version if version.language else Version(_by_script(version.text), version.text) for version in found]
    for wanted in ("zh", "en"):
        # Simplified Chinese before traditional, where both are there.
        codes = sorted(
            {version.language for version in named if language_of(version.language) == wanted},
            key=lambda code: (
                "hant" in code.lower() or code.lower() in ("tw", "cht", "zh-tw", "zh_tw"),
                code != wanted,
            ),
        )
        if codes:
            return list(dict.fromkeys(version.text for version in named if version.language == codes[0]))
    return list(dict.fromkeys(version.text for version in named if version.language == named[0].language))


def _by_script(text: str) -> str:
    return "zh" if detect_language(text) == "zh" else "und"


_LEAST_WORDS = 4


def _told_apart(found: list[Version]) -> list[Version]:
    """Versions whose languages nobody told, where Chinese ones stand beside English sentences or titles."""
    if len(found) < 2:
        return found
    languages = [detect_language(version.text) for version in found]
    sentences = [
        language == "en" and len(version.text.split()) >= _LEAST_WORDS
        for language, version in zip(languages, found, strict=True)
    ]
    if "zh" not in languages or not any(sentences):
        return found
    return [Version(language, version.text) for language, version in zip(languages, found, strict=True)]


def unfold(text: str) -> Any:
    """What a string holds where it is JSON or a Python literal of a list, an object or a string; else the string."""
    if not text or (text[0] not in _BRACKETS and not text[0].isspace()):
        return text
    stripped = text.strip()
    if len(stripped) < 2 or _BRACKETS.get(stripped[0]) != stripped[-1]:
        return text
    try:
        found = orjson.loads(stripped)
    except orjson.JSONDecodeError:
        found = _literal(stripped) if stripped[0] in "[{(" else None
    return found if isinstance(found, str | list | dict) else text


def _literal(text: str) -> Any:
    """A Python list, dict or tuple ("['a', 'b']"), as scripts write them into tables; None where it is none."""
    if len(text) > _LARGEST_LITERAL or text[1:].lstrip()[:1] not in "'\"[{(]}" or text.count("[") > 1000:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes
            found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return list(found) if isinstance(found, tuple) else found


def scalar_text(value: Any) -> str:
    """A number, date or bytes as text: ``10000001.0`` is ``10000001``; NaN, truth values and others are no text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return ""
    if isinstance(value, int):
        return str(value) if value.bit_length() < 4096 else ""  # Python refuses to write longer ones
    if isinstance(value, float):
        if not math.isfinite(value):
            return ""
        return str(int(value)) if value.is_integer() else repr(value)
    if isinstance(value, Decimal):
        return scalar_text(int(value) if value == int(value) else float(value)) if value.is_finite() else ""
    if isinstance(value, bytes | bytearray | memoryview):
        decoded = decode(bytes(value))
        return decoded.text if decoded is not None else ""
    if isinstance(value, dt.date | dt.time):  # a datetime is a date
        return value.isoformat()
    return ""
