"""Patents that are classified alike, as answers to one another: pairs that need no label but IPC or CPC codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
from scipy import sparse
from typing_extensions import override

from patent_embed.arrays import numbered, owners_of
from patent_embed.relevance.base import Pair, Patents, Source

COMMON = 300  # patents: a code that more of them have says little, and would make the work quadratic
LEAST = 0.1  # likeness of a pair
NEAREST = 5  # answers of a patent
_BLOCK = 4096  # patents that are compared with all others at once


class Classes(Source):
    """For every patent those that share most of its codes, the rare ones above all (``likeness``); the grade is their
    likeness, since such an answer is less sure than a cited one. Families are told apart where pairs are kept."""

    name, order = "classes", 4
    about = "a patent for one whose IPC or CPC codes are much alike"
    columns = ("codes",)
    kind = "passage"
    measures = False

    @override
    def pairs(self, patents: Patents) -> Iterator[Pair]:
        for row, (others, values) in enumerate(likeness(patents.columns["codes"])):
            yield from (Pair(row, other, grade=value) for other, value in zip(others, values, strict=True))


CLASSES = Classes()


def likeness(codes: Sequence[Sequence[str]]) -> Iterator[tuple[list[int], list[float]]]:
    """Of each patent the ``NEAREST`` others and how alike their codes are, most alike first, equal ones by row.

    The weight of what both have over the weight of what either has (weighted Jaccard), in (0, 1]; a code weighs the
    logarithm of how many times more patents there are than have it (inverse document frequency). Codes that more than
    ``COMMON`` patents have count as not shared.
    """
    owner = owners_of(np.array([len(each) for each in codes], np.int64))
    code, symbols = numbered(pa.array([one for each in codes for one in each], pa.string()))
    having = np.bincount(code, minlength=len(symbols))
    weight = np.log(len(codes) / np.maximum(having, 1))
    whole = np.bincount(owner, weight[code], len(codes))
    rare = (having[code] <= COMMON) & (weight[code] > 0)  # what all have tells nothing
    shape = (len(codes), len(having))
    has = sparse.csr_matrix((np.ones(rare.sum()), (owner[rare], code[rare])), shape)
    weighted, across = has @ sparse.diags(weight), has.T.tocsr()
    for begin in range(0, len(codes), _BLOCK):
        shared = (weighted[begin : begin + _BLOCK] @ across).tocsr()
        for row in range(shared.shape[0]):
            place = slice(*shared.indptr[row : row + 2])
            other, both = shared.indices[place].astype(np.int64), shared.data[place]
            value = both / (whole[begin + row] + whole[other] - both)
            kept = (value >= LEAST) & (other != begin + row)
            order = np.lexsort((other[kept], -value[kept]))[:NEAREST]
            yield other[kept][order].tolist(), value[kept][order].round(3).tolist()
