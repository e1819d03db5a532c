"""Texts with labels: ``Title: ...``, ``Abstract: ...`` one below the other, or a label on a line of its own."""

from __future__ import annotations

import re

from patent_embed.data.fields import normal, plan

_LABEL = re.compile(
    r"^[ \t\ufeff]*[【\[]?([^\W\d][^\n:：【】\[\]]{0,39}?)(?:[】\]]\s*[:：]?|\s*[:：]|[ \t]*$)[ \t]*", re.MULTILINE
)
_STOPS = frozenset(
    ["keywords", "keyword", "关键词", "关键字", "inventors", "inventor", "发明人", "date", "url", "link", "附图", "background", "summary"]
)
_LEAST_LABELS = 2


def labelled_fields(text: str) -> dict[str, str]:
    """Canonical name → the text below or behind its label; nothing where fewer than two labels are known."""
    marks = []
    for match in _LABEL.finditer(text):
        known = next(iter(plan((match[1].strip(),))), None)
        if known is not None or normal(match[1]) in _STOPS:
            marks.append((match.start(), match.end(), known))
    if sum(known is not None for _, _, known in marks) < _LEAST_LABELS:
        return {}
    found: dict[str, str] = {}
    for (_, begins, known), (ends, _, _) in zip(marks, [*marks[1:], (len(text), 0, None)], strict=True):
        content = text[begins:ends].strip()
        if known is not None and content:
            found.setdefault(known, content)
    return found
