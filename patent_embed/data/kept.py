"""What is kept of a patent beside what is searched: claims, description, citations, family, date and applicants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from patent_embed.data.cleaning import clean_text
from patent_embed.data.dates import date_of
from patent_embed.data.fields import plan
from patent_embed.data.layouts import numbered_claims
from patent_embed.data.markup import without_markup
from patent_embed.data.placeholders import says_nothing
from patent_embed.data.values import DEEPEST, paragraphs_of, scalar_text, text_of, unfold

NAMES = ("claims", "description", "citations", "family_id", "publication_date", "applicants")
_MOST_CITATIONS = 10_000
_NUMBER = re.compile(
    r"[A-Z]{0,2}[A-Z\d][\d\s./-]{3,}\d[A-Z]?\d{0,2}|[A-Z]{0,4}-?\d[\d./-]{3,}-?[A-Z]?\d{0,2}", re.IGNORECASE
)
_BETWEEN_NUMBERS = re.compile(r"[;；|\n\t]+|,\s*|，|、")
_BETWEEN_NAMES = re.compile(r"[;；|\n]+")
_NAME_KEYS = (
    "name",
    "applicant_name",
    "assignee_name",
    "organization",
    "assignee_organization",
    "value",
    "姓名",
    "名称",
)
_NO_FAMILY = ("-1", "0", "")


@dataclass(frozen=True)
class Limits:
    """How many characters of the claims of a patent together, and of its description, are kept."""

    claims: int
    description: int


def kept_fields(values: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Field → what is kept of it, of those fields that hold something; ``values`` are canonical."""
    found = {
        "claims": _claims(values.get("claims"), limits.claims),
        "description": _description(values.get("description"), limits.description),
        "citations": list(dict.fromkeys(_numbers(values.get("citations"), 0)))[:_MOST_CITATIONS],
        "family_id": _family(values.get("family_id")),
        "publication_date": date_of(values.get("publication_date")),
        "applicants": list(dict.fromkeys(_names(values.get("applicants"), 0))),
    }
    return {name: value for name, value in found.items() if value}


def _claims(value: Any, limit: int) -> list[str]:
    if value is None or not limit:
        return []
    texts = [without_markup(text) for text in paragraphs_of(value)]
    if len(texts) == 1:
        texts = numbered_claims(texts[0])
    claims: list[str] = []
    for claim in filter(None, map(clean_text, texts)):
        room = limit - sum(map(len, claims))
        if claims and len(claim) > room:
            break
        claims.append(claim[:limit])
    return claims


def _description(value: Any, limit: int) -> str:
    if value is None or not limit:
        return ""
    whole: list[str] = []
    for paragraph in paragraphs_of(value):
        # More than is kept: cleaning makes a text shorter, and a description can be a book.
        text = clean_text(without_markup(paragraph[: 4 * limit]))
        whole += [text] if text else []
        if sum(map(len, whole)) > limit:
            break
    return "\n".join(whole)[:limit].rstrip()


def _family(value: Any) -> str:
    if isinstance(value, list | dict):
        return ""
    text = clean_text(text_of(value))
    return "" if text in _NO_FAMILY or says_nothing(text) else text


def _numbers(value: Any, depth: int) -> Iterator[str]:
    """Publication numbers in a list, in objects, or in one text."""
    if depth > DEEPEST or value is None:
        return
    if isinstance(value, str):
        value = unfold(value)
    if isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each, depth + 1)
    elif isinstance(value, Mapping):
        known = plan(tuple(value))
        sources = known.get("publication_number") or known.get("application_number") or known.get("citations")
        for source in (sources or ())[:1]:
            yield from _numbers(value[source.name], depth + 1)
    else:
        for piece in _BETWEEN_NUMBERS.split(scalar_text(value)):
            number = clean_text(piece).replace(" ", "")
            if _NUMBER.fullmatch(number):
                yield number


def _names(value: Any, depth: int) -> Iterator[str]:
    if depth > DEEPEST or value is None:
        return
    if isinstance(value, str):
        value = unfold(value)
    if isinstance(value, list | tuple):
        for each in value:
            yield from _names(each, depth + 1)
    elif isinstance(value, Mapping):
        named = next((value[key] for key in _NAME_KEYS if value.get(key)), None)
        yield from _names(text_of(value) if named is None else named, depth + 1)
    elif isinstance(value, str):
        for piece in _BETWEEN_NAMES.split(without_markup(value)):
            name = clean_text(piece)
            if name and not says_nothing(name):
                yield name
