"""Independent claims, for which the abstract of their own patent is a right answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from typing_extensions import override

from patent_embed.relevance.base import Pair, Patents, Source

LEAST = 20  # characters of a claim: shorter ones were cancelled, or are no text
# A dependent claim names another one near its beginning.
_DEPENDENT = re.compile(
    r"\b(?:of|to|in|with|by|per|under)\s+(?:any\s+(?:one\s+)?of\s+)?(?:the\s+)?(?:preceding\s+)?claims?\b"
    r"|\bas\s+claimed\b|权利要求\s*\d|請求項\s*\d|请求项\s*\d|제\s*\d+\s*항",
    re.IGNORECASE,
)
_BEGINNING = 250  # characters in which it does


class Claims(Source):
    """Every independent claim. It is written to be asked with, so it gets the query's prompt."""

    name, order = "claims", 2
    about = "an independent claim for its patent"
    columns = ("claims",)
    kind = "query"

    @override
    def pairs(self, patents: Patents) -> Iterator[Pair]:
        for row, claims in enumerate(patents.columns["claims"]):
            for claim in independent(claims or ()):
                yield Pair(row, row, query=claim)


CLAIMS = Claims()


def independent(claims: Sequence[str]) -> list[str]:
    """Those that stand alone: the first, and the others that name none before them."""
    long = [claim for claim in claims if len(claim) >= LEAST]
    return [claim for place, claim in enumerate(long) if place == 0 or not _DEPENDENT.search(claim[:_BEGINNING])]
