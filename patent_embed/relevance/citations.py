"""Cited patents, as answers to the patents that cite them, graded by what the search report says of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from pydantic import Field
from typing_extensions import override

from patent_embed.relevance.base import Pair, Patents, Source
from patent_embed.section import Section

_BETWEEN = re.compile(r"[\W_]+")
_KIND = re.compile(r"(?<=\d)[A-Z]\d?$")


# Letters of a category (WIPO ST.14). N and I divide X: novelty, inventive step.
PREJUDICIAL = frozenset("XYNI")
_OTHERS = frozenset("ADELOPRTU&")
NO_CATEGORY, UNKNOWN_CATEGORY = "without_category", "unknown_category"


class CitationSettings(Section):
    """How right a cited patent is, by its category."""

    grade_prejudicial: float = Field(
        2.0,
        ge=0,
        le=10,
        description="citations: grade of an answer whose category has X or Y (or N, I): it takes novelty or inventive "
        "step; 1 is as right as a patent's own text, 0: no answer, and no negative either",
    )
    grade_background: float = Field(
        1.0, ge=0, le=10, description="citations: grade of an answer of category A, or of other letters without these"
    )
    grade_uncategorized: float = Field(
        1.0, ge=0, le=10, description="citations: grade of an answer without a category, or with an unknown one"
    )


class Citations(Source):
    """Every citation of a patent that is there. Texts of both sides are passages: an examiner might have found the
    citing patent by the cited one."""

    name, order = "citations", 3
    about = "a patent for one that it cites"
    columns = ("citations", "citation_categories")
    kind = "passage"
    settings = CitationSettings

    @override
    def pairs(self, patents: Patents) -> Iterator[Pair]:
        told = patents.settings if isinstance(patents.settings, CitationSettings) else CitationSettings()
        cited, numbers = CitedRows(patents.numbers), patents.columns["citations"]
        categories = patents.columns.get("citation_categories") or [None] * len(numbers)
        labelled = any(categories)
        for row, answers in enumerate(map(cited.answers, numbers, categories)):
            for answer, category in answers.items():
                if answer != row:
                    label = label_of(category)
                    yield Pair(row, answer, grade=grade_of(label, told), label=label if labelled else "")


CITATIONS = Citations()


def label_of(category: str) -> str:
    """What a citation counts as: ``prejudicial``, ``background``, and where it has no category or an unknown one."""
    if not category:
        return NO_CATEGORY
    letters = set(category)
    if not letters <= PREJUDICIAL | _OTHERS:
        return UNKNOWN_CATEGORY
    return "prejudicial" if letters & PREJUDICIAL else "background"


def grade_of(label: str, settings: CitationSettings) -> float:
    """The grade of ``label_of``."""
    if label == "prejudicial":
        return settings.grade_prejudicial
    return settings.grade_background if label == "background" else settings.grade_uncategorized


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

    def answers(self, numbers: Sequence[str] | None, categories: Sequence[str] | None) -> dict[int, str]:
        """Rows of the patents that are there → their category, in the order of ``numbers``. A patent that is cited by
        several numbers has the letters of all.

        Args:
            categories: of each number; None: none has one.
        """
        found: dict[int, str] = {}
        for number, category in zip(numbers or (), categories or [""] * len(numbers or ()), strict=True):
            if (row := self.row(number)) is not None:
                found[row] = found.get(row, "") + category
        return found


def _letters(number: str) -> str:
    return _BETWEEN.sub("", number).upper()
