"""The two halves of an abstract, each of which is to find the other: pairs that need no label."""

from __future__ import annotations

import re
from collections.abc import Iterator

from typing_extensions import override

from patent_embed.relevance.base import Pair, Patents, Source
from patent_embed.text import SENTENCE_END

LEAST = 20  # characters of a half: less says too little to be found by
_END = re.compile(SENTENCE_END)


class Halves(Source):
    """``halves_of`` every abstract, in both directions."""

    name, order = "halves", 1
    about = "one half of an abstract for the other half"
    columns = ("abstract",)
    kind = "passage"

    @override
    def pairs(self, patents: Patents) -> Iterator[Pair]:
        for row, abstract in enumerate(patents.columns["abstract"]):
            if found := halves_of(abstract):
                first, second = found
                yield Pair(row, row, first, second)
                yield Pair(row, row, second, first)


HALVES = Halves()


def halves_of(text: str) -> tuple[str, str] | None:
    """A text cut at the end of the sentence, or part of one, that is nearest to its middle; None where no such cut
    leaves ``LEAST`` characters on both sides."""
    cuts = [match.end() for match in _END.finditer(text)]
    for cut in sorted(cuts, key=lambda place: abs(2 * place - len(text))):
        first, second = text[:cut].strip(), text[cut:].strip()
        if min(len(first), len(second)) >= LEAST:
            return first, second
    return None
