"""Vectors as a ``.npy`` file of which several processes write rows, each its own, and nobody holds them all.

The processes may be on machines that share a disk: each writes the bytes of its rows, and reads none.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from patent_embed.arrays import Vectors

_HEADER = 128  # bytes, what numpy's format of version 1.0 takes for any matrix that fits on a disk
_MAGIC = b"\x93NUMPY\x01\x00"


def write_rows(path: Path, first: int, vectors: Vectors) -> None:
    """Write the rows from ``first`` on, (n, dim) float32; whoever comes first makes the file."""
    content = np.ascontiguousarray(vectors, "<f4").data.cast("B")
    at = _HEADER + first * vectors.shape[1] * 4
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        while content:
            written = os.pwrite(descriptor, content, at)
            content, at = content[written:], at + written
    finally:
        os.close(descriptor)


def finish(path: Path, rows: int, dim: int) -> None:
    """Make the file one that ``np.load`` reads, (rows, dim), when all rows are there.

    Raises:
        RuntimeError: the file does not end where the last row does.
    """
    shape = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}"
    text = shape.ljust(_HEADER - len(_MAGIC) - 3).encode() + b"\n"
    with path.open("r+b" if rows else "w+b") as file:
        file.write(_MAGIC + len(text).to_bytes(2, "little") + text)
    size, expected = path.stat().st_size, _HEADER + rows * dim * 4
    if size != expected:
        raise RuntimeError(f"{path} has {size} bytes, {rows} vectors of {dim} numbers are {expected}")
