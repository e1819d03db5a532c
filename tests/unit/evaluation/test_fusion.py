"""Reciprocal rank fusion by hand."""

from __future__ import annotations

import numpy as np
import pytest

from patent_embed.evaluation.fusion import fuse


def found(*rows: int) -> tuple[np.ndarray, np.ndarray]:
    return np.linspace(1, 0, len(rows), dtype=np.float32), np.array(rows)


def test_fusion_worked_out_by_hand() -> None:
    scores, rows = fuse([found(5, 2, 9), found(2, 7)], 10)
    # 2: 1/62 + 1/61; 5: 1/61; 7: 1/62; 9: 1/63
    assert rows.tolist() == [2, 5, 7, 9]
    assert scores == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 62, 1 / 63])
    assert fuse([found(4, 3), found(3, 4)], 10)[1].tolist() == [3, 4]  # equal: the lower row
    assert fuse([found(), found()], 10)[1].tolist() == []
    assert len(fuse([found(*range(20)), found(*range(20, 40))], 20)[1]) == 20
