"""Which files of an earlier encoding count: those whose footer and rows are there."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.folders import Folder, folder_at
from pipelines.steps.embeddings import Piece, is_finished

PIECE = Piece("part-00000", 3, rows=4)


@pytest.fixture(params=["here", "store"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    if request.param == "here":
        return folder_at(tmp_path / "vectors")
    return folder_at(f"{request.getfixturevalue('s3')}/{tmp_path.name}/vectors")


def content(tmp_path: Path, rows: int) -> bytes:
    pq.write_table(pa.table({"id": ["x"] * rows}), tmp_path / "rows.parquet")
    return (tmp_path / "rows.parquet").read_bytes()


def test_a_whole_file_counts(tmp_path: Path, target: Folder) -> None:
    assert not is_finished(target, PIECE)
    target.write(PIECE.file, content(tmp_path, 4))
    assert is_finished(target, PIECE)


@pytest.mark.parametrize("spoil", ["empty", "zeros", "cut", "other rows"])
def test_what_a_loss_of_power_leaves_does_not(tmp_path: Path, target: Folder, spoil: str) -> None:
    whole = content(tmp_path, 4)
    target.write(
        PIECE.file,
        {"empty": b"", "zeros": bytes(len(whole)), "cut": whole[:-9], "other rows": content(tmp_path, 3)}[spoil],
    )
    assert not is_finished(target, PIECE)
