"""Products of query vectors with passage vectors, in blocks, by torch on any device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Int32, Int64

# Numbers held at once: scores, or components of gathered passages. Another value may change a score's last bit.
MAX_PRODUCTS = 1 << 24
_SMALL = 1 << 28  # multiplications

Float32 = NDArray[np.float32]


class Products:
    """Scores of passages. Other than on the CPU, all ``passages`` (n, dim) must fit into the device's memory."""

    def __init__(self, passages: Float32, device: str) -> None:
        import torch  # only where there is something to score

        self._torch, self._device = torch, device
        self._passages = torch.as_tensor(np.asarray(passages)).to(device)

    def dots(self, queries: Float32, rows: Int32) -> Float32:
        """Queries (b, dim) with the passages ``rows`` (b, p) of each → (b, p)."""
        out = np.empty(rows.shape, np.float32)
        step = max(1, MAX_PRODUCTS // (rows.shape[1] * queries.shape[1]))
        for low in range(0, len(rows), step):
            part = slice(low, low + step)
            gathered = self._passages[self._put(rows[part])].float()
            out[part] = self._torch.bmm(gathered, self._put(queries[part])[:, :, None])[:, :, 0].cpu().numpy()
        return out

    def mean(self) -> Float32:
        """The mean of all passages, (dim,)."""
        total = self._passages.sum(0, dtype=self._torch.float64)
        mean: Float32 = (total / len(self._passages)).float().cpu().numpy()
        return mean

    def top(self, queries: Float32, rows: Int32, hidden: Int64, k: int) -> tuple[Float32, Int64]:
        """The k best of the passages ``rows`` (m,) for each query (b, dim), best first.

        ``hidden`` are flat places of the (b, m) scores that do not count: they come last, with -inf.

        Returns:
            scores and places in ``rows``, (b, k) each.
        """
        with self._threads(queries.size * len(rows)):
            scores = self._put(queries) @ self._passages[self._put(rows)].float().T
            scores.view(-1)[self._put(hidden)] = -float("inf")
            values, best = self._torch.topk(scores, k, dim=1)
        return values.cpu().numpy(), best.cpu().numpy()

    @contextmanager
    def _threads(self, work: int) -> Iterator[None]:
        """One thread for a small product: waking others costs more, by far so on a busy machine."""
        threads = self._torch.get_num_threads()
        self._torch.set_num_threads(1 if work < _SMALL else threads)
        try:
            yield
        finally:
            self._torch.set_num_threads(threads)

    def _put(self, values: NDArray[Any]) -> Any:
        wide = values.astype(np.int64) if values.dtype == np.int32 else np.ascontiguousarray(values)
        return self._torch.from_numpy(wide).to(self._device)
