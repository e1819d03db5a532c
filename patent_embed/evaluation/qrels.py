"""Judged relevance: for each query the documents that somebody graded, and how far down a ranking they stand.

A grade of 1 or more is relevant, 0 and below are not, and what was not judged has grade 0, as in trec_eval.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Int64, Rows, matches, owners_of, places_in, ranges_of
from patent_embed.evaluation import metrics
from patent_embed.evaluation.metrics import Floats

Grades = NDArray[np.int64]


@dataclass(frozen=True)
class Qrels:
    """Grades of pairs, in the order of queries and then of documents: ``query``, ``document``, ``grade`` (m,) each."""

    query: Rows
    document: Rows
    grade: Grades

    @classmethod
    def of(cls, query: Rows, document: Rows, grade: Grades) -> Qrels:
        """Grades in any order. Raises ValueError where a pair is graded twice: which one counts is not known."""
        order = np.lexsort((document, query))
        query, document, grade = query[order], document[order], grade[order]
        twice = np.flatnonzero((query[1:] == query[:-1]) & (document[1:] == document[:-1]))
        if len(twice):
            first = twice[0]
            raise ValueError(f"query {query[first]} grades document {document[first]} more than once")
        return cls(query, document, grade)

    @cached_property
    def queries(self) -> Rows:
        """The queries with a judgement, ascending."""
        return np.unique(self.query)

    def kept(self, mask: NDArray[np.bool_]) -> Qrels:
        """Only the pairs of ``mask`` (m,)."""
        return Qrels(self.query[mask], self.document[mask], self.grade[mask])

    def grades(self, asked: Rows, ranked: Rows) -> Floats:
        """(q, k) gains of the documents ``ranked`` (q, k) for the queries ``asked`` (q,): 0 for row -1, for what was
        not judged, and for grades below 0."""
        gains = np.zeros(ranked.shape)
        if not len(self.query) or not ranked.size:
            return gains
        width = int(max(self.document.max(), ranked.max(initial=0))) + 1
        keys = self.query * width + self.document
        wanted = (asked[:, None] * width + ranked).ravel()
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = (keys[place] == wanted) & (ranked.ravel() >= 0)
        gains.ravel()[known] = np.maximum(self.grade[place[known]], 0)
        return gains

    def ideal(self, asked: Rows, k: int) -> Floats:
        """(q, k) gains of the best possible ranking of each of ``asked`` (q,)."""
        query, gain = self._best
        begin = np.searchsorted(query, asked)
        length = np.minimum(np.searchsorted(query, asked, "right") - begin, k)
        best = np.zeros((len(asked), k))
        best[owners_of(length), places_in(length)] = gain[ranges_of(begin, length)]
        return best

    def relevant(self, asked: Rows) -> Int64:
        """(q,) how many documents are relevant to each of ``asked``."""
        place, _ = matches(asked, self.query[self.grade > 0])
        return np.bincount(place, minlength=len(asked)).astype(np.int64)

    @cached_property
    def _best(self) -> tuple[Rows, Floats]:
        """Queries, ascending, and their gains above 0, the best of each query first."""
        above = self.grade > 0
        query, gain = self.query[above], self.grade[above].astype(np.float64)
        order = np.lexsort((-gain, query))
        return query[order], gain[order]


def graded_metrics(qrels: Qrels, asked: Rows, ranked: Rows, names: tuple[str, ...]) -> dict[str, Floats]:
    """Metrics of the rankings ``ranked`` (q, depth) of the queries ``asked`` (q,): name → (q,).

    Args:
        names: ``ndcg@k``, ``mrr@k``, ``map@k`` and ``recall@k``: trec_eval's ``ndcg_cut_k``, ``recip_rank`` of k
            documents, ``map_cut_k`` and ``recall_k``. Gains of nDCG are the grades themselves, as there.
    """
    gain, relevant = qrels.grades(asked, ranked), qrels.relevant(asked)
    hit = gain > 0
    found: dict[str, Floats] = {}
    for name in names:
        kind, _, cut = name.partition("@")
        k = int(cut)
        if kind == "ndcg":
            found[name] = metrics.graded_ndcg(gain[:, :k], qrels.ideal(asked, k))
        elif kind == "mrr":
            found[name] = metrics.reciprocal_rank(hit, k)
        else:
            function = {"map": metrics.average_precision, "recall": metrics.recall}[kind]
            found[name] = function(hit, relevant, k)
    return found
