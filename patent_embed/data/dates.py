"""Dates in the spellings of offices and vendors."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from patent_embed.data.values import scalar_text, text_of

_DATE = re.compile(r"(\d{4})[-./年]?(\d{1,2})[-./月]?(\d{1,2})日?(?:[T\s].*)?", re.DOTALL)
_DATE_WITH_MONTH_FIRST = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_YEARS = range(1700, 2200)


def date_of(value: Any) -> str | None:
    """A date as ``2021-03-09``: from ``20210309``, ``2021.3.9``, ``2021年3月9日``, ``3/9/2021``, dates and times."""
    if isinstance(value, dt.date):
        year, month, day = value.year, value.month, value.day
    else:
        text = (text_of(value) if not isinstance(value, int | float) else scalar_text(value)).strip()
        if match := _DATE.fullmatch(text):
            year, month, day = map(int, match.groups())
        elif match := _DATE_WITH_MONTH_FIRST.fullmatch(text):
            month, day, year = map(int, match.groups())
        else:
            return None
    try:
        return dt.date(year, month, day).isoformat() if year in _YEARS else None
    except ValueError:
        return None
