"""Products of query vectors with passage vectors, in blocks, by torch on any device."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Int32, Int64

# Numbers held at once: scores, or components of gathered passages. Another value may change a score's last bit.
MAX_PRODUCTS = 1 << 24
_SUMMED = 1 << 16  # passages at once
_SMALL = 1 << 28  # multiplications

Float32 = NDArray[np.float32]


class Products:
    """Scores of patents by their passages. Other than on the CPU, all ``passages`` must fit into the device's memory.

    Args:
        passages: (n, dim), those of a patent behind one another.
        spans: first row and number of the passages of each patent, (patents,) each, of which the best counts; None:
            each patent has the passage in its own row.
    """

    def __init__(self, passages: Float32, device: str, spans: tuple[Int64, Int64] | None = None) -> None:
        import torch  # only where there is something to score

        self._torch, self._device = torch, device
        with warnings.catch_warnings():
            # A memory-mapped file can only be read, which is all that is done here.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            self._passages = torch.as_tensor(np.asarray(passages)).to(device)
        self._spans = spans

    def dots(self, queries: Float32, rows: Int32) -> Float32:
        """Queries (b, dim) with the patents ``rows`` (b, p) of each → (b, p)."""
        out, *others = (self._dots(queries, each) for each in self._turns(rows))
        for scores in others:
            np.maximum(out, scores, out=out)
        return out

    def _turns(self, rows: Int32) -> Iterator[Int64 | Int32]:
        """Rows of passages of the patents ``rows``: the first of each, the second, and so on, the last again where one
        has no more."""
        if self._spans is None:
            yield rows
            return
        start, count = self._spans
        for turn in range(int(count[rows].max(initial=1))):
            yield start[rows] + np.minimum(turn, count[rows] - 1)

    def _dots(self, queries: Float32, rows: Int64 | Int32) -> Float32:
        out = np.empty(rows.shape, np.float32)
        step = max(1, MAX_PRODUCTS // (rows.shape[1] * queries.shape[1]))
        for low in range(0, len(rows), step):
            part = slice(low, low + step)
            gathered = self._passages[self._put(rows[part])].float()
            out[part] = self._torch.bmm(gathered, self._put(queries[part])[:, :, None])[:, :, 0].cpu().numpy()
        return out

    def mean(self) -> Float32:
        """The mean of all passages, (dim,)."""
        # A part at a time: torch makes float64 of all that it sums.
        begins = range(0, max(1, len(self._passages)), _SUMMED)
        parts = [self._passages[at : at + _SUMMED].sum(0, dtype=self._torch.float64) for at in begins]
        total = self._torch.stack(parts).sum(0)
        mean: Float32 = (total / len(self._passages)).float().cpu().numpy()
        return mean

    def top(self, queries: Float32, rows: Int32, hidden: Int64, k: int) -> tuple[Float32, Int64]:
        """The k best of the patents ``rows`` (m,) for each query (b, dim), best first.

        ``hidden`` are flat places of the (b, m) scores that do not count: they come last, with -inf.

        Returns:
            scores and places in ``rows``, (b, k) each.
        """
        with self._threads(queries.size * len(rows)):
            asked = self._put(queries)
            scores, *others = (asked @ self._passages[self._put(each)].float().T for each in self._turns(rows))
            for more in others:
                scores = self._torch.maximum(scores, more)
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
