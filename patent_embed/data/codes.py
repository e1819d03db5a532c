"""Columns of code lists: the codes of all patents in one array, whose each is, and the main groups above them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.arrays import Rows


def flattened(codes: pa.ChunkedArray) -> tuple[Rows, pa.Array]:
    """A column of code lists (n patents, m codes in all): row of the patent (m,) and the code (m,), in order."""
    lists = codes.combine_chunks()
    return pc.list_parent_indices(lists).to_numpy().astype(np.int64), pc.list_flatten(lists)


def main_groups(codes: pa.Array) -> pa.Array:
    """``ipc.main_group`` of each of ``codes`` (m,)."""
    return pc.replace_substring_regex(codes, "/.*", "")
