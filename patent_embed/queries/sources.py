"""Which queries count, by who wrote them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from patent_embed.errors import UserError

RULES = "rules"
ENOUGH_QUERIES = 50


def headline_mask(source: pa.ChunkedArray, wanted: Sequence[str] | None, enough: int = ENOUGH_QUERIES) -> np.ndarray:
    """Which queries of a split count in its headline metrics, by their sources: (q,) bool.

    With ``wanted`` None: all but those of rules where at least ``enough`` such queries exist. A rule query is lifted
    from its abstract, so it rewards word overlap; it stands in only where nothing better exists. Raises UserError when
    ``wanted`` matches none of the queries.
    """
    found = source.to_pylist()
    if wanted is None:
        written = np.array([name != RULES for name in found], np.bool_)
        return written if written.sum() >= enough else np.ones(len(found), np.bool_)
    mask = np.array([name in wanted for name in found], np.bool_)
    if len(found) and not mask.any():
        counts = ", ".join(f"{name} {found.count(name)}" for name in sorted(set(found)))
        raise UserError(
            f"evaluation.query_sources {list(wanted)} matches none of a split's queries ({counts}), so there is "
            "nothing to measure on; name one of these sources, or leave the setting out"
        )
    return mask
