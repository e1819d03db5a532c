"""How much room a text takes where characters stand in columns: a terminal, or a chart's label."""

from __future__ import annotations

import unicodedata


def columns(text: str) -> int:
    """Columns of a text: East Asian wide characters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def cut(text: str, width: int) -> str:
    """``text``, with an ellipsis for its end where it takes more than ``width`` columns."""
    if columns(text) <= width:
        return text
    while columns(text) > width - 1:
        text = text[:-1]
    return text + "…"
