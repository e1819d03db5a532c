"""Texts with labels: ``Title: ...``, ``Abstract: ...`` one below the other, or a label on a line of its own."""

from __future__ import annotations

import re

from patent_embed.data.fields import normal, plan

_LABEL = re.compile(
    r"^[ \t\ufeff]*[【\[]?([^\W\d][^\n:：【】\[\]]{0,39}?)(?:[】\]]\s*[:：]?|\s*[:：]|[ \t]*$)[ \t]*", re.MULTILINE
)
_STOPS = frozenset(
    ("keywords", "keyword", "关键词", "关键字", "inventors", "inventor", "发明人", "date", "url", "附图", "background")
)
_LEAST_LABELS = 2


def labelled_fields(text: str) -> dict[str, str]:
    """Canonical name → the text below or behind its label, of the first record in a text; nothing where none is."""
    return next(iter(labelled_records(text)), (0, {}))[1]


def labelled_records(text: str) -> list[tuple[int, dict[str, str]]]:
    """(where it begins, canonical name → text) of each record: a label that comes again begins the next one.

    None where a text has fewer than two labels that are known.
    """
    marks = []
    for match in _LABEL.finditer(text):
        known = next(iter(plan((match[1].strip(),))), None)
        if known is not None or normal(match[1]) in _STOPS:
            marks.append((match.start(), match.end(), known))
    if len({known for _, _, known in marks} - {None}) < _LEAST_LABELS:
        return []
    records: list[tuple[int, dict[str, str]]] = []
    for (start, begins, known), (ends, _, _) in zip(marks, [*marks[1:], (len(text), 0, None)], strict=True):
        if known is None:
            continue
        if not records or known in records[-1][1]:
            records.append((start, {}))
        records[-1][1][known] = text[begins:ends].strip()
    return records
