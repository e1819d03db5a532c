"""Cited patents, as answers to the patents that cite them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from typing_extensions import override

from patent_embed.relevance.base import Pair, Patents, Source

_BETWEEN = re.compile(r"[\W_]+")
_KIND = re.compile(r"(?<=\d)[A-Z]\d?$")


class Citations(Source):
    """Every citation of a patent that is there. Texts of both sides are passages: an examiner might have found the
    citing patent by the cited one."""

    name, order = "citations", 3
    about = "a patent for one that it cites"
    columns = ("citations",)
    kind = "passage"

    @override
    def pairs(self, patents: Patents) -> Iterator[Pair]:
        cited = CitedRows(patents.numbers)
        for row, citations in enumerate(patents.columns["citations"]):
            found = (cited.row(number) for number in citations or ())
            for answer in dict.fromkeys(found):
                if answer is not None and answer != row:
                    yield Pair(row, answer)


CITATIONS = Citations()


class CitedRows:
    """Rows of patents by the numbers that others cite them by: with or without hyphens, with the kind code of this
    publication, of another one of the same application, or none."""

    def __init__(self, numbers: Sequence[str]) -> None:
        self._whole: dict[str, int | None] = {}
        self._bare: dict[str, int | None] = {}
        for row, number in enumerate(numbers):
            whole = _letters(number)
            bare = _KIND.sub("", whole)
            # Of two publications it is not known which.
            self._whole[whole] = None if whole in self._whole else row
            self._bare[bare] = None if bare in self._bare else row

    def row(self, number: str) -> int | None:
        """The patent's row; None where it is not there, or where the number could mean several that are."""
        whole = _letters(number)
        found = self._whole.get(whole)
        return self._bare.get(_KIND.sub("", whole)) if found is None else found


def _letters(number: str) -> str:
    return _BETWEEN.sub("", number).upper()
