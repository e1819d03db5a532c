"""A file of vectors that several write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patent_embed.vector_file import finish, write_rows


@pytest.mark.parametrize(("rows", "dim"), [(0, 4), (1, 1), (1000, 3), (257, 768)])
def test_rows_in_any_order_are_the_file_that_numpy_writes(tmp_path: Path, rows: int, dim: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    path = tmp_path / "x.npy"
    for first in reversed(range(0, rows, 100)):
        write_rows(path, first, vectors[first : first + 100])
    finish(path, rows, dim)
    np.save(tmp_path / "whole.npy", vectors)
    assert path.read_bytes() == (tmp_path / "whole.npy").read_bytes()
    if rows:
        np.testing.assert_array_equal(np.load(path, mmap_mode="r"), vectors)


def test_rows_that_are_written_again_are_the_same(tmp_path: Path) -> None:
    path, vectors = tmp_path / "x.npy", np.arange(12, dtype=np.float32).reshape(4, 3)
    for first in (2, 0, 2):
        write_rows(path, first, vectors[first : first + 2])
    finish(path, 4, 3)
    np.testing.assert_array_equal(np.load(path), vectors)


@pytest.mark.parametrize("rows", [3, 5])
def test_a_file_that_is_too_short_or_too_long_is_an_error(tmp_path: Path, rows: int) -> None:
    write_rows(tmp_path / "x.npy", 0, np.zeros((4, 3), np.float32))
    with pytest.raises(RuntimeError, match=f"has 176 bytes, {rows} vectors of 3 numbers are"):
        finish(tmp_path / "x.npy", rows, 3)
