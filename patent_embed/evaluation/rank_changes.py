"""Which queries won and lost most from one system to another, with the texts to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.arrays import rows_of
from patent_embed.evaluation.measure import DEPTH, HEADLINE, EvalResult

SHOWN = 8  # queries that won, and as many that lost


@dataclass(frozen=True)
class RankChange:
    """A query whose right answer moved.

    Attributes:
        title, abstract, code: of the query's patent.
        before, after: rank of the right answer, from 1; None: not among the first ``DEPTH``.
        above_before, above_after: title of what was ranked first instead, empty where the right answer is first.
    """

    query: str
    source: str
    kind: str
    publication_number: str
    title: str
    abstract: str
    code: str
    before: int | None
    after: int | None
    above_before: str
    above_after: str


@dataclass(frozen=True)
class RankChanges:
    """Headline queries of a split: how many rose, fell and stayed, and those that changed most."""

    system: str
    baseline: str
    split: str
    rose: int
    fell: int
    stayed: int
    won: Sequence[RankChange]
    lost: Sequence[RankChange]


def rank_changes(
    system: EvalResult,
    baseline: EvalResult,
    queries: pa.Table,
    corpus: pa.Table,
    *,
    split: str = "test",
    shown: int = SHOWN,
) -> RankChanges:
    """Changes from ``baseline`` to ``system``, ordered by the change of the headline metric, then of the rank.

    Args:
        system, baseline: measured on the same queries.
        queries: ``publication_number, query_no, query``.
        corpus: ``publication_number, title, abstract, codes``.
    """
    ours, theirs = system.rows(split), baseline.rows(split)
    # A right answer that was not found ranks behind all that were looked at.
    after, before = (np.where(r == 0, DEPTH + 1, r) for r in (ours["rank"].to_numpy(), theirs["rank"].to_numpy()))
    risen = before - after
    gain = ours[HEADLINE].to_numpy() - theirs[HEADLINE].to_numpy()
    order = np.lexsort((-risen, -gain))
    own, number = ours["publication_number"].to_pylist(), ours["query_no"].to_pylist()

    def change(row: int) -> RankChange:
        mine = pc.and_(pc.equal(queries["publication_number"], own[row]), pc.equal(queries["query_no"], number[row]))
        patent = _patent(corpus, own[row])
        first = [table["first"][row].as_py() for table in (theirs, ours)]
        above = ["" if f in (None, own[row]) else _patent(corpus, f)["title"] for f in first]
        ranks = [table["rank"][row].as_py() or None for table in (theirs, ours)]
        return RankChange(
            query=queries.filter(mine)["query"][0].as_py(),
            source=ours["source"][row].as_py(),
            kind=ours["kind"][row].as_py(),
            publication_number=own[row],
            title=patent["title"],
            abstract=patent["abstract"],
            code=patent["codes"][0],
            before=ranks[0],
            after=ranks[1],
            above_before=above[0] if ranks[0] != 1 else "",
            above_after=above[1] if ranks[1] != 1 else "",
        )

    return RankChanges(
        system=system.name,
        baseline=baseline.name,
        split=split,
        rose=int((risen > 0).sum()),
        fell=int((risen < 0).sum()),
        stayed=int((risen == 0).sum()),
        won=[change(row) for row in order[risen[order] > 0][:shown].tolist()],
        lost=[change(row) for row in order[risen[order] < 0][::-1][:shown].tolist()],
    )


def _patent(corpus: pa.Table, number: str) -> dict[str, Any]:
    row = int(rows_of(pa.chunked_array([[number]]), corpus["publication_number"])[0])
    found: dict[str, Any] = corpus.slice(row, 1).to_pylist()[0]
    return found
