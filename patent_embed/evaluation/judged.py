"""Right answers of held-out queries beyond their own patent: what people judged relevant."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from patent_embed.arrays import Int64, Rows, matches, numbered, rows_of
from patent_embed.text import one_line


class JudgedAnswers:
    """What was judged relevant to the queries that are measured on.

    Attributes:
        has: (q,) bool: queries that have such answers.
    """

    def __init__(
        self, answers: pa.Table, queries: pa.Table, split: NDArray[np.object_], ids: pa.ChunkedArray, family: Int64
    ) -> None:
        """``answers``: ``JUDGED``. ``queries`` (q,) with their ``split``; ``family`` (n,): of the documents ``ids``."""
        answers = answers.filter(answers["relevant"])
        # A query of the same words in another split is another one.
        asked = [f"{part}\t{one_line(text)}" for part, text in zip(split, _texts(queries, "query"), strict=True)]
        judged = [
            f"{part}\t{text}" for part, text in zip(_texts(answers, "split"), _texts(answers, "query"), strict=True)
        ]
        number = numbered(pa.array(asked + judged, pa.string()))[0].astype(np.int64)
        of_query, of_answer = number[: len(asked)], number[len(asked) :]
        order = np.argsort(of_answer, kind="stable")
        query, place = matches(of_query, of_answer[order])
        found = family[rows_of(answers["publication_number"], ids)][order][place]
        pairs = np.unique(np.column_stack([query, found]), axis=0)
        self._query, self._family = pairs[:, 0], pairs[:, 1]
        self._of = family
        self.has = np.zeros(len(asked), np.bool_)
        self.has[self._query] = True

    def added(
        self, hit: NDArray[np.bool_], relevant: Int64, ranked: Rows, own: Int64
    ) -> tuple[NDArray[np.bool_], Int64]:
        """``metrics.hits`` (q, k) and sizes of the relevant sets (q,) with these answers and their families.

        ``ranked`` (q, k): documents found; ``own`` (q,): the family that a query has without them.
        """
        hit, relevant = hit.copy(), relevant.copy()
        sizes = np.bincount(self._of, minlength=int(self._of.max(initial=-1)) + 1)
        for query, family in zip(self._query.tolist(), self._family.tolist(), strict=True):
            if family != own[query]:
                hit[query] |= (self._of[ranked[query]] == family) & (ranked[query] >= 0)
                relevant[query] += sizes[family]
        return hit, relevant

    def are_answers(self, query: Rows, document: Rows) -> NDArray[np.bool_]:
        """(m,) whether each of ``document`` (m,) is of a family that was judged relevant to its ``query`` (m,)."""
        width = int(self._of.max(initial=-1)) + 1
        known = self._query * width + self._family
        return np.isin(query * width + self._of[document], known)


def _texts(table: pa.Table, column: str) -> list[str]:
    texts: list[str] = table[column].to_pylist()
    return texts
