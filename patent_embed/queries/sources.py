"""Which queries count, by who wrote them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.errors import UserError

RULES = "rules"
JUDGED = "judged"
LOG = "log"


def mask_by_source(
    source: pa.ChunkedArray, wanted: Sequence[str] | None, *, enough: int, setting: str, use: str
) -> np.ndarray:
    """Which queries are of the ``wanted`` sources: (q,) bool.

    Args:
        source: (q,) of each query.
        wanted: None: all but rules where at least ``enough`` such queries exist, otherwise all. A rule query is lifted
            from its abstract, so it rewards word overlap; it stands in only where nothing better exists. Judged
            queries count in either case, but not towards ``enough``: those of a few users are no sample of a corpus.
        setting: whose value ``wanted`` is, for the message.
        use: what the queries are for, e.g. ``measure on``, for the message.

    Raises UserError when ``wanted`` matches none of the queries.
    """
    if wanted is None:
        written = pc.not_equal(source, RULES).to_numpy()
        judged = pc.sum(pc.equal(source, JUDGED)).as_py() or 0
        return written if written.sum() - judged >= enough else np.ones(len(source), np.bool_)
    mask = from_sources(source, wanted)
    if len(source) and not mask.any():
        found = {each["values"]: each["counts"] for each in pc.value_counts(source).to_pylist()}
        counts = ", ".join(f"{name} {found[name]}" for name in sorted(found))
        raise UserError(
            f"{setting} {list(wanted)} matches none of a split's queries ({counts}), so there is nothing to {use}; "
            "name one of these sources, or leave the setting out"
        )
    return mask


def from_sources(source: pa.ChunkedArray, wanted: Sequence[str]) -> NDArray[np.bool_]:
    """Which queries, of the sources ``source`` (q,), are of those that are ``wanted``: (q,)."""
    found: NDArray[np.bool_] = pc.is_in(source, value_set=pa.array(list(wanted), pa.string())).to_numpy()
    return found
