"""What is kept of a patent beside what is searched: claims, description, citations, family, date and applicants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from patent_embed.data.cited import citations_of
from patent_embed.data.cleaning import clean_text
from patent_embed.data.dates import date_of
from patent_embed.data.layouts import numbered_claims
from patent_embed.data.markup import without_markup
from patent_embed.data.placeholders import says_nothing
from patent_embed.data.values import DEEPEST, paragraphs_of, text_of, unfold

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
    cited = citations_of(values.get("citations"))
    found = {
        "claims": _claims(values.get("claims"), limits.claims),
        "description": _description(values.get("description"), limits.description),
        "citations": list(cited),
        "citation_categories": list(cited.values()) if any(cited.values()) else [],
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
