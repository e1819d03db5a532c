"""Ragged arrays as flat ones, and names as row numbers: what numpy and Arrow leave to their users, once.

A ragged array is one flat array in which groups stand behind one another. Its ``lengths`` (n,) say how many values each
group has, its ``starts`` (n + 1,) where each begins and the last ends: group i is ``flat[starts[i]:starts[i + 1]]``.
Results are int64 unless another type is named.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from typing_extensions import override

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]
Vectors = NDArray[np.float32]  # (n, dim)
Rows = NDArray[np.int64]  # row numbers of a table or a matrix


def starts_of(lengths: NDArray[Any]) -> Int64:
    """``[0, lengths[0], lengths[0] + lengths[1], ...]``, (n + 1,): where each group begins, and the last ends."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def ranges_of(starts: NDArray[Any], lengths: NDArray[Any]) -> Int64:
    """``starts[0], starts[0] + 1, ... (lengths[0] of them), starts[1], ...``: the places of some groups, both (n,)."""
    ends = np.cumsum(lengths)
    places: Int64 = np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)
    return places


def places_in(lengths: NDArray[Any]) -> Int64:
    """``0, 1, ... (lengths[0] of them), 0, 1, ...``: the place of every value inside its group."""
    return ranges_of(np.zeros(len(lengths), np.int64), lengths)


def owners_of(lengths: NDArray[Any]) -> Int64:
    """``0, 0, ... (lengths[0] of them), 1, ...``: the group of every value."""
    return np.repeat(np.arange(len(lengths), dtype=np.int64), lengths)


def changes(first: NDArray[Any], *others: NDArray[Any]) -> NDArray[np.bool_]:
    """(m,) bool: where a run of equal values begins, of columns (m,) taken together. The first value begins one."""
    out = np.ones(len(first), np.bool_)
    np.not_equal(first[1:], first[:-1], out=out[1:])
    for column in others:
        out[1:] |= column[1:] != column[:-1]
    return out


def shuffled_runs(column: NDArray[Any], rng: np.random.Generator) -> Int64:
    """Places of ``column`` (m,), its runs of equal values in random order, each whole and in its own order."""
    starts = np.flatnonzero(changes(column))
    order = rng.permutation(len(starts))
    return ranges_of(starts[order], np.diff(starts, append=len(column))[order])


def grouped(group: NDArray[Any], groups: int) -> tuple[Int64, Int64]:
    """Values (m,) put in the order of their ``group`` (m,), of 0 to ``groups - 1``; inside a group they keep theirs.

    Returns:
        order (m,) and starts (groups + 1,): ``order[starts[g]:starts[g + 1]]`` are the places of group g, ascending.
    """
    return np.argsort(group, kind="stable"), starts_of(np.bincount(group, minlength=groups))


def matches(wanted: NDArray[Any], keys: NDArray[Any]) -> tuple[Int64, Int64]:
    """Every pair of equal values: places in ``wanted`` (any order, repeats allowed) and in ``keys`` (ascending).

    They are in the order of both, one for each pair.
    """
    first, last = np.searchsorted(keys, wanted, "left"), np.searchsorted(keys, wanted, "right")
    return owners_of(last - first), ranges_of(first, last - first)


def inverse_of(order: NDArray[Any]) -> Int64:
    """The permutation that undoes ``order`` (n,), itself one of 0 to n - 1: ``inverse[order[i]] == i``."""
    inverse = np.empty(len(order), np.int64)
    inverse[order] = np.arange(len(order))
    return inverse


def pieces_within(weights: NDArray[Any], limit: int) -> Iterator[slice]:
    """Cuts n things in a row into pieces of weight ``limit`` at most; one that is heavier is a piece of its own."""
    filled, begin = np.cumsum(weights), 0
    while begin < len(filled):
        base = filled[begin - 1] if begin else 0
        end = max(begin + 1, int(np.searchsorted(filled, base + limit, side="right")))
        yield slice(begin, end)
        begin = end


class Strings(Sequence[str]):
    """The strings of ``column`` at ``rows`` (n,): objects of Python only where they are asked for."""

    def __init__(self, column: pa.ChunkedArray, rows: Rows) -> None:
        self._column, self._rows = column, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    @override
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            found: list[str] = self._column.take(pa.array(self._rows[place], pa.int64())).to_pylist()
            return found
        return str(self._column[int(self._rows[place])].as_py())


def numbered(column: pa.Array | pa.ChunkedArray) -> tuple[Int32, pa.Array]:
    """Each value's number (m,) int32, by first appearance, and the distinct values. There must be no nulls."""
    column = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    chunks = column.dictionary_encode().unify_dictionaries().chunks
    if not chunks:
        return np.zeros(0, np.int32), pa.array([], column.type)
    return np.concatenate([chunk.indices.to_numpy() for chunk in chunks]), chunks[0].dictionary


def distinct(values: NDArray[Any]) -> tuple[NDArray[Any], Int64]:
    """``np.unique(values, return_inverse=True)`` of a column (m,): by a hash table, where that sorts all values."""
    number, found = numbered(pa.array(values))
    order = np.argsort(found.to_numpy())
    return found.to_numpy()[order], inverse_of(order)[number]


def rows_of(ids: pa.ChunkedArray, corpus_ids: pa.ChunkedArray) -> Rows:
    """Row of each id in ``corpus_ids``. Raises ValueError for an id that is not there."""
    rows = pc.index_in(ids, value_set=corpus_ids)
    if rows.null_count:
        missing = ids.filter(pc.is_null(rows))[0].as_py()
        raise ValueError(f"{rows.null_count} ids are not in the corpus, {missing!r} among them")
    found: Rows = rows.to_numpy().astype(np.int64)
    return found


def matrix_of(vectors: pa.Array) -> Vectors:
    """(rows, dim) of a column of fixed-size lists, without a copy."""
    found: Vectors = vectors.flatten().to_numpy().reshape(len(vectors), -1)
    return found


def let_go(array: NDArray[Any]) -> None:
    """Give back the memory that this process holds of a memory-mapped ``array``, and of what else its map holds; what
    is read again is mapped again. An array in memory stays."""
    mapped = getattr(array, "_mmap", None)  # of np.memmap and its slices
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)
