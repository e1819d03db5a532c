from __future__ import annotations

from pathlib import Path

import numpy as np
import psutil
import pytest

from patent_embed.arrays import let_go
from patent_embed.serving.unmapped import Unmapped, unmapped


@pytest.mark.parametrize("rows", [slice(None), slice(2, None), slice(5000, 8191)])
def test_rows_are_those_of_the_map(tmp_path: Path, rows: slice) -> None:
    values = np.random.default_rng(1).normal(size=(8192, 24)).astype(np.float32)
    np.save(tmp_path / "v.npy", values)
    found = unmapped(np.load(tmp_path / "v.npy", mmap_mode="r")[rows])
    assert isinstance(found, Unmapped)
    asked = np.array([7, 3190, 0, 7])
    assert (len(found), found.ndim, found.shape) == (len(values[rows]), 2, values[rows].shape)
    assert np.array_equal(found[asked], values[rows][asked])


def test_reads_hold_nothing_of_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((1 << 15, 256), np.float32))  # 32 MiB
    mapped, process = np.load(tmp_path / "v.npy", mmap_mode="r"), psutil.Process()
    found = unmapped(mapped)
    assert mapped.sum() == 1 << 23
    let_go(mapped)
    held = process.memory_info().rss
    assert found[np.arange(0, 1 << 15, 64)].sum() == 512 * 256
    assert process.memory_info().rss < held + (4 << 20)


def test_arrays_in_memory_stay_as_they_are() -> None:
    vectors = np.ones((3, 2), np.float32)
    assert unmapped(vectors) is vectors


def test_a_file_that_was_cut_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.ones((64, 256), np.float32))
    found = unmapped(np.load(tmp_path / "v.npy", mmap_mode="r"))
    with (tmp_path / "v.npy").open("r+b") as file:
        file.truncate(4096)
    with pytest.raises(OSError, match="shorter than it was"):
        found[np.array([60])]
