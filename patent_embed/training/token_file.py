"""A token store of which several processes write pieces: nobody holds its ids, and it is what ``numpy.save`` writes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from patent_embed.arrays import Int32, starts_of
from patent_embed.encoder.packing import Tokens


def write_piece(path: Path, ids: Int32) -> None:
    """The ids (total,) of some texts, as they lie in the store."""
    path.write_bytes(np.ascontiguousarray(ids, "<i4").data)


def join_pieces(pieces: Sequence[Path], lengths: Int32, target: Path) -> Tokens:
    """Write ``TARGET-ids.npy`` and ``TARGET-offsets.npy`` from the ids in ``pieces``, which go as they are read.

    Args:
        lengths: (texts,) tokens of each text, of all pieces in their order.

    Returns:
        The store, mapped.

    Raises:
        RuntimeError: the pieces do not hold as many ids as the texts have.
    """
    ids, offsets = (target.with_name(f"{target.name}-{part}.npy") for part in ("ids", "offsets"))
    starts = starts_of(lengths)
    held, expected = sum(piece.stat().st_size for piece in pieces), 4 * int(starts[-1])
    if held != expected:
        raise RuntimeError(f"{len(pieces)} pieces of {ids} have {held} bytes, ids of {len(lengths)} texts {expected}")
    header = {"descr": "<i4", "fortran_order": False, "shape": (int(starts[-1]),)}
    with ids.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for piece in pieces:
            with piece.open("rb") as content:
                shutil.copyfileobj(content, file, 1 << 20)
            piece.unlink()
    np.save(offsets, starts)
    mapped = (np.load(path, mmap_mode="r") for path in (ids, offsets))
    return Tokens(*mapped)
