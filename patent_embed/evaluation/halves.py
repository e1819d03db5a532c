"""A corpus in fp16, from which exact search takes its candidates on a CPU: half of the bytes, and products by FBGEMM.

Few queries at once wait for the documents to come from memory, and products of so few are slow by other libraries. The
candidates are scored from the fp32 vectors, and the slack of the search grows by what the rounding can change, so the
results are the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Vectors


@dataclass(frozen=True)
class Halves:
    """Blocks of a corpus in fp16.

    Attributes:
        spans: first row and end of each block, which follow one another.
        blocks: of each span the documents as FBGEMM reads them.
        error: no document is further than this from what stands for it here (Euclidean).
    """

    spans: tuple[tuple[int, int], ...]
    blocks: tuple[Any, ...]
    error: float

    @classmethod
    def of(cls, corpus: Vectors, spans: Iterable[tuple[int, int]]) -> Halves | None:
        """``corpus`` (n, d) float32 in blocks; None where this CPU cannot multiply by them, or fp16 cannot hold it."""
        import torch

        if "fbgemm" not in torch.backends.quantized.supported_engines:
            return None
        known, blocks, error = tuple(spans), list[Any](), 0.0
        for begin, end in known:
            block = torch.from_numpy(np.array(corpus[begin:end], np.float32))
            error = max(error, float(torch.linalg.vector_norm(block - block.half().float(), dim=1).max()))
            blocks.append(torch.ops.quantized.linear_prepack_fp16(block, None))
        return cls(known, tuple(blocks), error * (1 + 1e-5)) if np.isfinite(error) else None

    def propose(self, block: int, queries: Vectors, threshold: Vectors) -> tuple[NDArray[np.int64], Vectors]:
        """Flat positions in (queries, rows of the block) of products that reach each query's ``threshold`` (q,), and
        these products."""
        import torch

        products = torch.ops.quantized.linear_dynamic_fp16(torch.from_numpy(queries), self.blocks[block]).numpy()
        flat = np.flatnonzero(products >= threshold[:, None])
        return flat, products.ravel()[flat]
