"""Products of query vectors with passage vectors, in blocks: numpy on a CPU, torch on anything else."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from patent_embed.rings import Int32, Int64

MAX_PRODUCTS = 1 << 24  # scores held at once

Float32 = NDArray[np.float32]


class Products(Protocol):
    """Scores of passages on some device."""

    def dots(self, queries: Float32, rows: Int32) -> Float32:
        """queries (b, dim), rows (b, p) of passages → their products (b, p)."""

    def top(self, queries: Float32, rows: Int32, hidden: Int64, k: int) -> tuple[Float32, Int64]:
        """The k best of the passages ``rows`` (m,) for each query (b, dim), best first: scores and places in ``rows``,
        (b, k). ``hidden`` are flat places of the (b, m) scores that do not count: they come last, with -inf."""


class NumpyProducts:
    def __init__(self, passages: Float32) -> None:
        self._passages = passages

    def dots(self, queries: Float32, rows: Int32) -> Float32:
        out = np.empty(rows.shape, np.float32)
        step = max(1, MAX_PRODUCTS * 4 // (rows.shape[1] * queries.shape[1]))
        for low in range(0, len(rows), step):
            part = slice(low, low + step)
            gathered = self._passages[rows[part]].astype(np.float32, copy=False)
            out[part] = np.matmul(gathered, queries[part, :, None])[:, :, 0]
        return out

    def top(self, queries: Float32, rows: Int32, hidden: Int64, k: int) -> tuple[Float32, Int64]:
        scores = queries @ self._passages[rows].astype(np.float32, copy=False).T
        scores.reshape(-1)[hidden] = -np.inf
        best = (
            np.argpartition(scores, -k, axis=1)[:, -k:]
            if k < len(rows)
            else np.broadcast_to(np.arange(len(rows)), scores.shape)
        )
        values = np.take_along_axis(scores, best, axis=1)
        order = np.lexsort((best, -values), axis=1)
        return np.take_along_axis(values, order, axis=1), np.take_along_axis(best, order, axis=1)


class TorchProducts:
    """The passages in the memory of a GPU."""

    def __init__(self, passages: Float32, device: str) -> None:
        import torch

        self._torch, self._device = torch, device
        self._passages = torch.from_numpy(np.asarray(passages)).to(device)

    def dots(self, queries: Float32, rows: Int32) -> Float32:
        out = np.empty(rows.shape, np.float32)
        step = max(1, MAX_PRODUCTS * 4 // (rows.shape[1] * queries.shape[1]))
        for low in range(0, len(rows), step):
            part = slice(low, low + step)
            gathered = self._passages[self._on_device(rows[part])].float()
            out[part] = self._torch.bmm(gathered, self._on_device(queries[part])[:, :, None])[:, :, 0].cpu().numpy()
        return out

    def top(self, queries: Float32, rows: Int32, hidden: Int64, k: int) -> tuple[Float32, Int64]:
        scores = self._on_device(queries) @ self._passages[self._on_device(rows)].float().T
        scores.view(-1)[self._on_device(hidden)] = -float("inf")
        values, best = self._torch.topk(scores, k, dim=1)
        return values.cpu().numpy(), best.cpu().numpy()

    def _on_device(self, values: NDArray[Any]) -> Any:
        if values.dtype == np.int32:
            values = values.astype(np.int64)
        return self._torch.from_numpy(np.ascontiguousarray(values)).to(self._device)


def products_on(device: str, passages: Float32) -> Products:
    """``device`` as torch names it; on other than ``cpu``, all passages must fit into its memory."""
    return NumpyProducts(passages) if device == "cpu" else TorchProducts(passages, device)
