"""Ragged arrays as flat ones with starts, and rows of ids: what numpy and Arrow leave to their users, once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def numbered(column: pa.ChunkedArray) -> tuple[Int32, pa.Array]:
    """Each value's number and the distinct values."""
    chunks = column.dictionary_encode().unify_dictionaries().chunks
    if not chunks:
        return np.zeros(0, np.int32), pa.array([], column.type)
    return np.concatenate([chunk.indices.to_numpy() for chunk in chunks]), chunks[0].dictionary


Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]


def starts_of(lengths: NDArray[Any]) -> Int64:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    out = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=out[1:])
    return out


def ranges_of(starts: Int64, lengths: Int64) -> Int64:
    """``starts[0], starts[0] + 1, ... (lengths[0] of them), starts[1], ...``"""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


def rows_of(ids: pa.ChunkedArray, corpus_ids: pa.ChunkedArray) -> Rows:
    """Row of each id in ``corpus_ids``. Raises ValueError for an id that is not there."""
    rows = pc.index_in(ids, value_set=corpus_ids)
    if rows.null_count:
        missing = ids.filter(pc.is_null(rows))[0].as_py()
        raise ValueError(f"{rows.null_count} ids are not in the corpus, {missing!r} among them")
    found: Rows = rows.to_numpy().astype(np.int64)
    return found
