"""Graded relevance through the classification: a second view beside the one right answer.

Two patents that share a full code are relevant to each other with grade 2, with grade 1 where they share only a main
group. The right answers of the strict view, a query's own patent and its family, have grade 2 too, whatever their
codes. It rewards a system that fills the list with patents of the subject, which the strict view cannot see.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from patent_embed.arrays import Rows, numbered, owners_of, places_in
from patent_embed.data.codes import flattened, main_groups


class IpcRelevance:
    """Grades of documents for the queries of a document.

    ``codes``: a list of full codes a document, in row order. ``family`` (n,): the number of each document's family.
    """

    def __init__(self, codes: pa.ChunkedArray, family: NDArray[np.int64]) -> None:
        document, symbols = flattened(codes)
        self._full, self._group = (_membership(document, labels, family) for labels in (symbols, main_groups(symbols)))

    def grades(self, own: Rows, ranked: Rows) -> NDArray[np.float64]:
        """Grades (q, k) of the documents ``ranked`` (q, k) for queries of the documents ``own`` (q,); row -1 has 0."""
        query, found = np.repeat(own, ranked.shape[1]), np.maximum(ranked, 0).ravel()
        shared = [table[query].multiply(table[found]).getnnz(axis=1) > 0 for table in (self._full, self._group)]
        return np.where(ranked < 0, 0.0, _added(shared).reshape(ranked.shape))

    def ideal(self, own: Rows, k: int) -> NDArray[np.float64]:
        """Grades (q, k) of the best possible ranking, 0 where there are fewer than k relevant documents."""
        place = np.arange(k)
        shared = [place < _sharing(table, own, k)[:, None] for table in (self._full, self._group)]
        return _added(shared)


def _added(shared: list[NDArray[np.bool_]]) -> NDArray[np.float64]:
    full, group = shared
    return full.astype(np.float64) + group


def _membership(document: Rows, labels: pa.Array, family: NDArray[np.int64]) -> csr_matrix:
    """(documents, labels), not zero where a document carries a label. A family is a label of its members."""
    column = numbered(labels)[0].astype(np.int64)
    families = family + column.max(initial=-1) + 1
    row, column = np.concatenate([document, np.arange(len(family))]), np.concatenate([column, families])
    shape = (len(family), int(column.max(initial=-1)) + 1)
    return csr_matrix((np.ones(len(column), np.int32), (row, column)), shape=shape)


def _sharing(table: csr_matrix, own: Rows, k: int) -> NDArray[np.int64]:
    """(q,) how many documents share a label with each of ``own``, exact up to ``k``.

    The first k documents of each label suffice for that: a label that has more alone reaches k.
    """
    by_label = table.T.tocsr()
    by_label.sort_indices()
    count = np.diff(by_label.indptr)
    kept = places_in(count) < k
    label = owners_of(count)[kept]
    first = csr_matrix((by_label.data[kept], (label, by_label.indices[kept])), shape=by_label.shape)
    sharing: NDArray[np.int64] = (table[own] @ first).getnnz(axis=1).astype(np.int64)
    return sharing
