"""Negatives from the classification ladder: same main group, same subclass, random.

One search serves the three rungs of the ``ladder``. On each, a negative is a patent of one of the anchor's containers
that carries none of the anchor's keys and belongs to another family. All codes of both patents count. So the rungs are
disjoint, together they hold every allowed negative, and no negative shares a full code with its anchor. Containers
never mix splits.

The search (``rings``) offers each candidate of a container at most once, in an order drawn for the anchor, until there
are enough or there are no more. So a shortfall is exact, up to two bounds: a container of more than ``group_cap``
patents is cut into buckets by a hash of the id, and an anchor sees its own bucket; and a search ends after
``rings.MAX_PROBES`` patents (counted in the report as ``walks_cut``). An anchor's containers take turns, so a large
group does not crowd out a small one.

Hence an anchor's negatives are a function of the seed and of the set of patents in its containers, whatever the order
or the partitioning of the rows; a patent added to one of them may change its negatives, one added elsewhere cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.arrays import Int32, Int64, places_in
from patent_embed.config.negatives import NegativesConfig
from patent_embed.data.schemas import NEGATIVES
from patent_embed.errors import UserError
from patent_embed.hashing import hash_strings
from patent_embed.negatives.ladder import GROUP_CAP, RUNGS, Ladder, climb
from patent_embed.negatives.patents import Patents, read_patents
from patent_embed.negatives.tally import Tally
from patent_embed.strategies.base import STRATEGIES

_BLOCK = 1 << 16  # anchors handled at once


@dataclass(frozen=True)
class Mined:
    """Negatives of anchors.

    Attributes:
        table: the columns of ``NEGATIVES``, sorted by publication_number and rank.
        report: JSON-able, see ``Tally.report``.
    """

    table: pa.Table
    report: dict[str, Any]


def mine_negatives(
    corpus: pa.Table,
    splits: pa.Table,
    config: NegativesConfig,
    seed: int,
    anchors: pa.Array | None = None,
    *,
    group_cap: int = GROUP_CAP,
) -> Mined:
    """Negatives for each of ``anchors`` (publication numbers; default: every patent).

    ``corpus`` needs ``publication_number, codes`` (full symbols; a patent without codes neither gets nor is a
    negative), ``splits`` needs ``publication_number, family, split`` for each of them, in any order. Raises UserError
    for repeated or unknown ids and for a strategy that needs scores.
    """
    if STRATEGIES[config.strategy].needs_scores:
        raise UserError(
            f"negatives.strategy {config.strategy!r} ranks candidates by a model's scores, and there are no embeddings "
            "here; name an encoder, or choose another strategy, e.g. optimized_mixed"
        )
    patents = read_patents(corpus, splits, seed)
    rows = _anchor_rows(patents, anchors)
    ladder = Ladder(patents, group_cap)
    tally = Tally(config.per_positive)
    batches = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        negatives, rungs, counts = climb(partial(ladder.candidates, block, tally.search), patents.hash[block], config)
        tally.count(counts, rungs)
        batches.append(to_batch(patents.ids, block, negatives, rungs, counts))
    return Mined(pa.Table.from_batches(batches, NEGATIVES), tally.report(patents.group_sizes()))


def _anchor_rows(patents: Patents, anchors: pa.Array | None) -> Int32:
    if anchors is None:
        return np.arange(len(patents), dtype=np.int32)
    anchors = pc.unique(anchors)
    rows = pc.index_in(anchors, value_set=patents.ids)
    if rows.null_count:
        unknown = anchors.filter(rows.is_null())
        raise UserError(
            f"{len(unknown)} anchors are not in the corpus, the first is {unknown[0].as_py()!r}: there are no codes to "
            "find negatives by; take the anchors from this corpus"
        )
    return np.sort(rows.to_numpy())


def to_batch(
    ids: pa.Array, anchors: Int32, negatives: Int32, rungs: Int32, counts: Int64, scores: NDArray[Any] | None = None
) -> pa.RecordBatch:
    """Rows of ``NEGATIVES``.

    Args:
        ids: of all patents, by row number.
        anchors: (n,) rows, with ``counts`` (n,) negatives each.
        negatives: (m,) rows, the anchors' one after the other, each with its rung (m,) and, where there is one, its
            score (m,).
    """
    columns = [
        ids.take(pa.array(np.repeat(anchors, counts))),
        pa.array(places_in(counts).astype(np.int32)),
        ids.take(pa.array(negatives)),
        pa.array(RUNGS).take(pa.array(rungs)),
        pa.nulls(len(negatives), pa.float32()) if scores is None else pa.array(scores, pa.float32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=NEGATIVES)


def examples(mined: pa.Table, corpus: pa.Table, queries: pa.Table | None, seed: int, count: int = 10) -> list[Any]:
    """``count`` anchors drawn by hash, for people to read: query (if any), title and codes, and each negative's.

    ``corpus`` needs ``publication_number, title, codes``; ``queries`` needs ``publication_number, query``.
    """
    anchors = pc.unique(mined["publication_number"])
    drawn = anchors.take(pa.array(np.argsort(hash_strings(anchors, seed), kind="stable")[:count]))
    rows = mined.filter(pc.is_in(mined["publication_number"], value_set=drawn))
    shown = pa.chunked_array([drawn, *rows["negative"].chunks]).combine_chunks()
    patents = corpus.select(["publication_number", "title", "codes"])
    patents = patents.filter(pc.is_in(patents["publication_number"], value_set=shown))
    by_id = {patent["publication_number"]: patent for patent in patents.to_pylist()}
    asked: dict[str, str] = {}
    if queries is not None:
        of_drawn = queries.filter(pc.is_in(queries["publication_number"], value_set=drawn))
        for row in of_drawn.select(["publication_number", "query"]).to_pylist():
            asked.setdefault(row["publication_number"], row["query"])
    out = {name: {"query": asked.get(name), **by_id[name], "negatives": []} for name in drawn.to_pylist()}
    for row in rows.to_pylist():
        out[row["publication_number"]]["negatives"].append(
            {**by_id[row["negative"]], "rung": row["rung"], "score": row["score"]}
        )
    return list(out.values())
