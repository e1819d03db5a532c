"""Patents that a judge, a model, called answers to queries of other patents."""

from __future__ import annotations

from collections.abc import Iterator

from typing_extensions import override

from patent_embed.relevance.base import GRADED, Pair, Patents, Source

BEST = 3  # grade of a judge that is as right as a patent's own text


class Judge(Source):
    """Every answer that ``queries.judge`` found among the negatives, with its grade."""

    name, order = "judge", 4
    about = "a query for another patent that a judge called an answer to it (queries.judge)"
    columns = (GRADED,)
    kind = "query"

    @override
    def pairs(self, patents: Patents) -> Iterator[Pair]:
        row_of = {number: row for row, number in enumerate(patents.numbers)}
        for row, answers in enumerate(patents.columns[GRADED]):
            for found in answers or ():
                yield Pair(row, row_of[found["patent"]], query=found["query"], grade=found["grade"] / BEST)


JUDGE = Judge()
