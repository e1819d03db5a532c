"""Products of vectors in blocks."""

from __future__ import annotations

import numpy as np

from patent_embed.negatives import products


def unit(rng: np.random.Generator, rows: int, near: np.ndarray | None = None) -> np.ndarray:
    vectors = rng.normal(size=(rows, 6)).astype(np.float32)
    if near is not None:
        vectors = vectors + 2 * near
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_best_passage_of_a_patent_counts() -> None:
    rng = np.random.default_rng(3)
    count = rng.integers(1, 4, 40)
    start = np.cumsum(count) - count
    passages, queries = unit(rng, int(count.sum())), unit(rng, 5)
    best = np.maximum.reduceat(queries @ passages.T, start, axis=1)
    of = products.Products(passages, "cpu", (start, count))
    rows = rng.permutation(40)[:20].astype(np.int32)
    scores, place = of.top(queries, rows, np.zeros(0, np.int64), 6)
    np.testing.assert_allclose(scores, -np.sort(-best[:, rows], axis=1)[:, :6], atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(best[:, rows], place, axis=1), scores, atol=1e-6)
    pools = rows.reshape(5, 4)
    np.testing.assert_allclose(of.dots(queries, pools), np.take_along_axis(best, pools.astype(int), axis=1), atol=1e-6)


def test_products() -> None:
    rng = np.random.default_rng(0)
    passages, queries = unit(rng, 200), unit(rng, 9)
    rows = rng.permutation(200)[:50].astype(np.int32)
    hidden = np.flatnonzero(rng.random(9 * 50) < 0.3)
    expected = queries @ passages[rows].T
    expected.reshape(-1)[hidden] = -np.inf
    of = products.Products(passages, "cpu")
    for k in (4, 50):
        scores, best = of.top(queries, rows, hidden, k)
        np.testing.assert_allclose(scores, -np.sort(-expected, axis=1)[:, :k], atol=1e-6)
        np.testing.assert_allclose(np.take_along_axis(expected, best, axis=1), scores, atol=1e-6)
    pools = rows[:45].reshape(9, 5)
    np.testing.assert_allclose(of.dots(queries, pools), (passages[pools] * queries[:, None]).sum(-1), atol=1e-6)
