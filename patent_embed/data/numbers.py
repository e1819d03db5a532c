"""Publication numbers: what a patent is known by."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from patent_embed.data.cleaning import clean_text
from patent_embed.data.fields import is_publication_number
from patent_embed.data.markup import without_markup
from patent_embed.data.placeholders import says_nothing
from patent_embed.data.values import paragraphs_of, unfold

_WRITTEN_WITH_EXPONENT = re.compile(r"(\d)\.?(\d*)E\+?(\d{1,2})", re.IGNORECASE)  # by spreadsheets
# By pandas; application numbers have more digits before their check digit.
_WRITTEN_AS_FLOAT = re.compile(r"\d{1,11}\.0+")
_KIND_IN_BRACKETS = re.compile(r"\(([A-Z]\d?)\)$")  # Espacenet: "CN110000001 (A)"
_BETWEEN_NUMBERS = re.compile(r"[;；,，|\n]\s*")  # several publications of one patent: the first names it
_NAMED_BY_NUMBER = re.compile(r"(?:^|[/!])([A-Z]{2}\d{6,}[A-Z]\d?)(?:\.[A-Za-z]+){1,2}$")  # "CN110000001A.json"


def publication_number(values: Mapping[str, Any], source: str) -> str:
    """The publication number, else the application number, else that by which the file is named."""
    number = _one_number(values.get("publication_number"))
    if _WRITTEN_WITH_EXPONENT.fullmatch(number):
        number = _without_exponent(number)
    elif number.endswith("0") and _WRITTEN_AS_FLOAT.fullmatch(number):
        number = number.partition(".")[0]
    if not number:
        number = _one_number(values.get("application_number"))
    if not number and (match := _NAMED_BY_NUMBER.search(source)):
        number = match[1]
    return number


def _without_exponent(number: str) -> str:
    """``1.0000001E+07`` → ``10000001``; nothing where digits have been lost (``1.1E+08``)."""
    match = _WRITTEN_WITH_EXPONENT.fullmatch(number)
    return f"{match[1]}{match[2]}" if match is not None and len(match[2]) == int(match[3]) else ""


def _one_number(value: Any) -> str:
    if value is None:
        return ""
    if type(value) is not str or unfold(value) is not value:
        value = next(iter(paragraphs_of(value)), "")
    number = clean_text(without_markup(value)).replace(" ", "")
    if not number.isascii():
        number = unicodedata.normalize("NFKC", number)
    if number.endswith(")"):
        number = _KIND_IN_BRACKETS.sub(r"\1", number)
    several = _BETWEEN_NUMBERS.split(value, maxsplit=1)
    if len(several) > 1 and is_publication_number(several[0]):
        return _one_number(several[0])
    return "" if number and says_nothing(number) else number
