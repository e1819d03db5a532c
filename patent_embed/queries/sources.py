"""Which queries count, by who wrote them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

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
    found = source.to_pylist()
    if wanted is None:
        written = np.array([name != RULES for name in found], np.bool_)
        judged = found.count(JUDGED)
        return written if written.sum() - judged >= enough else np.ones(len(found), np.bool_)
    mask = np.array([name in wanted for name in found], np.bool_)
    if len(found) and not mask.any():
        counts = ", ".join(f"{name} {found.count(name)}" for name in sorted(set(found)))
        raise UserError(
            f"{setting} {list(wanted)} matches none of a split's queries ({counts}), so there is nothing to {use}; "
            "name one of these sources, or leave the setting out"
        )
    return mask
