"""What people's judgements of search results change in the triplets of a training."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.arrays import Int64, Rows, matches, numbered, rows_of
from patent_embed.text import one_line


class TrainingJudgements:
    """The judgements of the queries that are trained on.

    Attributes:
        family: (patents,) families, of which those with a relevant patent of the same query are one: none of them is
            ever a negative of another, neither mined nor in a batch.
    """

    def __init__(self, answers: pa.Table, splits: pa.Table, queries: pa.Table) -> None:
        """``answers``: ``JUDGED``; ``queries``: those that are trained on, with the patent of each."""
        ids = splits["publication_number"]
        in_train = splits.filter(pc.equal(splits["split"], "train"))["publication_number"]
        usable = pc.and_(
            pc.equal(answers["split"], "train"), pc.is_in(answers["publication_number"], value_set=in_train)
        )
        answers = answers.filter(usable)
        text, answer_text = _same_texts(queries["query"], answers["query"])
        own, judged = rows_of(queries["publication_number"], ids), rows_of(answers["publication_number"], ids)
        relevant = answers["relevant"].to_numpy()
        order = np.argsort(answer_text, kind="stable")
        query, place = matches(text, answer_text[order])
        patent = judged[order][place]
        said = relevant[order][place]
        family = numbered(splits["family"])[0].astype(np.int64)
        self.family = _joined(family, family[own[query[said]]], family[patent[said]])
        self._own = own
        self._refused = query[~said], patent[~said]

    def applied(self, query: Rows, patents: Rows) -> tuple[Rows, Rows]:
        """Triplets without what is no negative, and with those that were judged not relevant.

        Args:
            query: (m,) rows of the training's queries, ascending.
            patents: (m, 2) positive and negative; the same twice: the query has no mined one.
        """
        positive, negative = patents.T
        kept = (self.family[positive] != self.family[negative]) | (positive == negative)
        asked, refused = self._refused
        new = self.family[self._own[asked]] != self.family[refused]
        query = np.concatenate([query[kept], asked[new]])
        added = np.stack([self._own[asked[new]], refused[new]], axis=1)
        patents = np.concatenate([patents[kept], added])
        # One that was mined and judged stands there once.
        _, first = np.unique(np.column_stack([query, patents]), axis=0, return_index=True)
        first = np.sort(first)
        order = first[np.argsort(query[first], kind="stable")]
        return query[order], patents[order]


def _same_texts(queries: pa.ChunkedArray, answers: pa.ChunkedArray) -> tuple[Int64, Int64]:
    """Numbers of the texts (q,) and (m,), the same for the same words."""
    asked = [one_line(text) for text in queries.to_pylist()]
    number = numbered(pa.chunked_array([pa.array(asked, pa.string()), *answers.chunks], pa.string()))[0]
    return number[: len(asked)].astype(np.int64), number[len(asked) :].astype(np.int64)


def _joined(family: Int64, one: Int64, other: Int64) -> NDArray[np.int64]:
    """``family`` (n,) with the families ``one`` (m,) and ``other`` (m,) made the same, and what hangs together."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    size = int(family.max(initial=-1)) + 1
    links = coo_matrix((np.ones(len(one), np.int8), (one, other)), shape=(size, size))
    found: NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)[family]
    return found
