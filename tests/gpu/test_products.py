"""Scores on a GPU are those of the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from patent_embed.negatives.products import Products

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_gpu_and_cpu_agree(dtype: type) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    rng = np.random.default_rng(0)
    passages = rng.normal(size=(5000, 64)).astype(dtype)
    queries = rng.normal(size=(40, 64)).astype(np.float32)
    rows = rng.permutation(5000)[:3000].astype(np.int32)
    hidden = np.flatnonzero(rng.random(40 * 3000) < 0.2)
    cpu, gpu = Products(passages, "cpu"), Products(passages, "cuda")
    np.testing.assert_allclose(gpu.top(queries, rows, hidden, 50)[0], cpu.top(queries, rows, hidden, 50)[0], atol=1e-3)
    pools = rng.integers(0, 5000, (40, 30)).astype(np.int32)
    np.testing.assert_allclose(gpu.dots(queries, pools), cpu.dots(queries, pools), atol=1e-3)
