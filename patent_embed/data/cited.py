"""Cited patents: their numbers, and the categories that search reports give them.

A category is one letter or several (WIPO ST.14: ``X`` alone takes novelty or inventive step, ``Y`` with others, ``A``
is background; ``P``, ``D`` and others say more). The phase of a citation (``SEA``, ``APP``) and who cited (``cited by
applicant``) are no categories.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from patent_embed.data.cleaning import clean_text
from patent_embed.data.fields import is_publication_number, normal, plan
from patent_embed.data.values import DEEPEST, scalar_text, unfold

MOST = 10_000  # citations of a patent
_LONGEST = 12  # characters of a category that is kept as it is written
_NUMBER = re.compile(
    r"[A-Z]{0,2}[A-Z\d][\d\s./-]{3,}\d[A-Z]?\d{0,2}|[A-Z]{0,4}-?\d[\d./-]{3,}-?[A-Z]?\d{0,2}", re.IGNORECASE
)
_BETWEEN_NUMBERS = re.compile(r"(?:[;；|\n\t]+|,\s*|，|、)(?![^(（\[【]*[)）\]】])")
_WITH_CATEGORY = re.compile(r"(?P<number>.*\S)\s*[(（\[【](?P<category>[^()（）\[\]【】]*)[)）\]】]")
_ENDS_WITH_KIND = re.compile(r"\d-?[A-Z]\d?$", re.IGNORECASE)
_KIND = re.compile(r"[ABCUY]\d?", re.IGNORECASE)
_BETWEEN_LETTERS = re.compile(r"[\s,，、;；/|+.&]+")
_LETTERS = re.compile(r"[ADEILNOPRTUXY]{1,4}")
# Phases of DOCDB and BigQuery (search report, supplementary and international ones, applicant, examiner, opposition,
# …), who cited, and what kind of document it is.
_NO_CATEGORY = frozenset(
    (
        *("SEA", "SUP", "ISR", "APP", "EXA", "OPP", "PRS", "FOP", "TPO", "CH2", "APL", "LIM", "NSR", "EPO"),
        *("APPLICANT", "EXAMINER", "OTHER", "NPL", "PAT", "PATENT"),
    )
)
_NUMBER_NAMES = ("doc", "document", "number", "patent", "publication", "cited", "id", "文献", "专利", "引证", "引用")
_CATEGORY_NAMES = (
    *("type", "citationtype", "relevance", "category", "categories", "citationcategory", "citedcategory"),
    *("类型", "引用类型", "引证类型", "类别", "類別", "引用类别", "引证类别", "相关性", "カテゴリ"),
)


def citations_of(value: Any) -> dict[str, str]:
    """Publication number → its category, empty where there is none, in the order of their first mention.

    Args:
        value: a list of numbers, of numbers with a category in brackets (``CN101A (X)``), or of objects; an object of
            them by category (``{"X": [...]}``) or of categories by number; or one text.
    """
    found: dict[str, str] = {}
    for number, category in _cited(value, "", 0):
        found[number] = category_of([found.get(number, ""), category])
        if len(found) == MOST:
            break
    return found


def cited(pairs: Iterable[tuple[str, Any]]) -> list[Any]:
    """The canonical field ``citations``, from numbers and what stands as their category in the source: objects of those
    that have one, and the other numbers as they are; none of them empty or twice."""
    found: dict[str, str] = {}
    for number, category in pairs:
        if number:
            found[number] = category_of([found.get(number, ""), category])
    return [{"publication_number": number, "category": told} if told else number for number, told in found.items()]


def category_of(value: Any) -> str:
    """Letters in one, each once, as they come: ``XY`` of ``"X, Y"`` and of ``["X", "Y"]``. A text that is no letters is
    kept as it is written where it is short, and is nothing where it is a phase or a sentence."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        told = [category for each in value if (category := category_of(each))]
        letters = "".join(category for category in told if _LETTERS.fullmatch(category))
        return "".join(dict.fromkeys(letters)) or next(iter(told), "")
    text = clean_text(scalar_text(value)).upper()
    if text in _NO_CATEGORY or len(text) > _LONGEST:
        return ""
    letters = _BETWEEN_LETTERS.sub("", text)
    return "".join(dict.fromkeys(letters)) if _LETTERS.fullmatch(letters) else text


def _cited(value: Any, category: str, depth: int) -> Iterator[tuple[str, str]]:
    """Numbers and categories; ``category``: of the object that the value stands in."""
    if depth > DEEPEST or value is None:
        return
    if isinstance(value, str):
        value = unfold(value)
    if isinstance(value, list | tuple):
        for each in value:
            yield from _cited(each, category, depth + 1)
    elif isinstance(value, Mapping):
        yield from _of_object(value, category, depth + 1)
    else:
        for piece in _BETWEEN_NUMBERS.split(scalar_text(value)):
            number, told = _told(piece)
            if _NUMBER.fullmatch(number):
                yield number, told or category


def _of_object(value: Mapping[Any, Any], category: str, depth: int) -> Iterator[tuple[str, str]]:
    named = {normal(name): inside for name, inside in value.items() if isinstance(name, str)}
    told = category_of([named[name] for name in _CATEGORY_NAMES if name in named]) or category
    known = plan(tuple(value))
    sources = known.get("publication_number") or known.get("application_number") or known.get("citations")
    if sources:
        yield from _cited(value[sources[0].name], told, depth)
        return
    plain = next((named[name] for name in map(normal, _NUMBER_NAMES) if named.get(name)), None)
    if plain is not None:
        yield from _cited(plain, told, depth)
        return
    for name, inside in value.items():
        if not isinstance(name, str):
            continue
        if is_publication_number(name):
            yield from _cited(name, category_of(inside), depth)
        elif len(name) <= 2 and _LETTERS.fullmatch(name):
            yield from _cited(inside, name, depth)


def _told(piece: str) -> tuple[str, str]:
    """The number in a text, and the category behind it. One letter in brackets behind a number without a kind is its
    kind, as Espacenet writes it (``CN110000001 (A)``), unless it can be none (``X``)."""
    text = clean_text(piece)
    match = _WITH_CATEGORY.fullmatch(text)
    if match is None:
        return text.replace(" ", ""), ""
    number, inside = match["number"].replace(" ", ""), match["category"].strip()
    if _KIND.fullmatch(inside) and not _ENDS_WITH_KIND.search(number):
        return f"{number}{inside.upper()}", ""
    return number, category_of(inside)
