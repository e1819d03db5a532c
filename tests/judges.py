"""Judges for tests: functions of a judge's prompt, as an endpoint or a backend would answer it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from patent_embed.hashing import hash64

_ASKED = re.compile(r"<query>(.*?)</query>\n<abstract>(.*)</abstract>", re.DOTALL)


def asked(message: str) -> tuple[str, str]:
    """Query and abstract in a judge's prompt; both empty in another one."""
    found = _ASKED.search(message)
    return (found[1], found[2]) if found else ("", "")


def knowing(message: str, written: Mapping[str, str]) -> str:
    """A judge that knows what was ``written`` of which abstract (abstract → query, or its beginning), and sees which
    text is lifted from which."""
    query, abstract = asked(message)
    own = written.get(abstract)
    right = (own is not None and query.startswith(own)) or shared(query, abstract) > 0.35
    return json.dumps({"grade": 3 if right else 0})


def dicing(message: str) -> str:
    """A judge that draws each grade, the same for the same pair."""
    return json.dumps({"grade": hash64(message, 0, "dice") % 4})


def shared(query: str, abstract: str) -> float:
    """Share of a query's pairs of letters that the abstract has."""
    pairs = [query[i : i + 2] for i in range(len(query) - 1)]
    return sum(pair in abstract for pair in pairs) / max(len(pairs), 1)
