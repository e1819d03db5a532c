"""Rows of a memory-mapped matrix by reads of its file, so that the process does not come to hold all of it.

A search scores some hundred rows, which lie anywhere; where files are kept in pages of 2 MiB, each maps one.
"""

from __future__ import annotations

import mmap
import os
import weakref
from typing import Any

import numpy as np

from patent_embed.arrays import Rows, Vectors


class Unmapped:
    """What ``exact_search`` reads of a corpus that it has in fp16: its shape, and some rows."""

    ndim = 2

    def __init__(self, mapped: Any) -> None:
        """``mapped``: a C-contiguous ``np.memmap`` (n, dim), or a slice of its rows."""
        self.shape: tuple[int, int] = mapped.shape
        self._dtype = mapped.dtype
        self._begin = _place_in_file(mapped)
        self._file = os.open(mapped.filename, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Rows) -> Vectors:
        found = np.empty((len(rows), self.shape[1]), self._dtype)
        size = self._dtype.itemsize * self.shape[1]
        for row, into in zip(rows.tolist(), found, strict=True):
            if os.preadv(self._file, [into], self._begin + row * size) != size:
                raise OSError("the file of vectors is shorter than it was; start the server again")
        return found


def unmapped(vectors: Vectors) -> Vectors | Unmapped:
    """``vectors`` without their map where they have one, else as they are."""
    return Unmapped(vectors) if isinstance(vectors, np.memmap) and vectors.flags.c_contiguous else vectors


def _place_in_file(mapped: Any) -> int:
    """The byte of its file at which a map, or a slice of it, begins."""
    first = np.frombuffer(mapped._mmap, np.uint8)  # noqa: SLF001 - numpy tells the map's address by nothing else
    begin = mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY  # where numpy lets a map begin
    return int(begin + mapped.ctypes.data - first.ctypes.data)
