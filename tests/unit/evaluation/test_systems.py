"""BM25 as a system."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from patent_embed.evaluation.systems import Bm25
from tests.conftest import ROOT

PASSAGES = [
    "一种水泵，包括叶轮和泵体，叶轮与电机轴连接。",
    "一种LED灯具，包括散热器和灯罩。",
    "一种水泵，包括叶轮和泵体，叶轮与电机轴连接。",
    "一种锁具，钥匙插入锁芯后转动。",
]


def test_bm25_finds_by_words_with_ties_by_row_and_nothing_without_a_common_word() -> None:
    system = Bm25(PASSAGES, ["水泵的叶轮", "led散热", "量子计算", "？"])
    scores, rows = system.search(np.arange(4), 3)
    assert rows.tolist() == [[0, 2, -1], [1, -1, -1], [-1, -1, -1], [-1, -1, -1]]
    assert scores[0, 0] == scores[0, 1] > 0
    pairs = system.pairs(np.array([1, 0, 0, 2]), np.array([1, 2, 3, 0]))
    assert pairs.tolist() == [scores[1, 0], scores[0, 1], 0, 0]
    assert Bm25(["，", "。"], ["水泵"]).search(np.arange(1), 2)[1].tolist() == [[-1, -1]]


def test_bm25_leaves_gpus_alone(tmp_path: Path) -> None:
    """Where JAX is installed bm25s computes with it at import; on a GPU that would take most of its memory."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("from . import lax\n")
    (tmp_path / "jax" / "lax.py").write_text(
        "import os\nprint('JAX on', os.environ.get('JAX_PLATFORMS'))\ndef top_k(values, k): return values, k\n"
    )
    code = "from patent_embed.evaluation.bm25 import Bm25Index; Bm25Index.build(['晾衣架'])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    environment.pop("JAX_PLATFORMS", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "JAX on cpu\n", done.stderr
