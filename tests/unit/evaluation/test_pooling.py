"""From passages to patents, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.evaluation.pooling import PatentVectors
from patent_embed.evaluation.systems import EmbeddingSystem


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Queries, passages of few directions so that scores tie, and their owners."""
    counts = draw(st.lists(st.integers(1, 4), min_size=1, max_size=12))
    few = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0]), min_size=2, max_size=2)
    passages = draw(st.lists(few, min_size=sum(counts), max_size=sum(counts)))
    queries = draw(st.lists(few, min_size=1, max_size=3))
    owner = np.repeat(np.arange(len(counts)), counts)
    return np.array(queries, np.float32), np.array(passages, np.float32), owner


@given(worlds(), st.integers(1, 14))
def test_the_best_passage_counts(world: tuple[np.ndarray, np.ndarray, np.ndarray], k: int) -> None:
    queries, passages, owner = world
    system = EmbeddingSystem(queries, PatentVectors(passages, owner))
    best = np.stack([(queries @ passages[owner == each].T).max(axis=1) for each in range(owner[-1] + 1)], axis=1)
    expected = np.lexsort((np.broadcast_to(np.arange(best.shape[1]), best.shape), -best), axis=1)[:, :k]
    scores, rows = system.search(np.arange(len(queries)), k)
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_allclose(scores, np.take_along_axis(best, expected, axis=1))
    query, patent = np.indices(best.shape).reshape(2, -1)
    np.testing.assert_allclose(system.pairs(query, patent), best[query, patent])


def test_one_passage_a_patent_is_what_it_was() -> None:
    rng = np.random.default_rng(1)
    queries, passages = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (5, 40))
    plain = EmbeddingSystem(queries, passages).search(np.arange(5), 7)
    owned = EmbeddingSystem(queries, PatentVectors(passages, np.arange(40))).search(np.arange(5), 7)
    for first, second in zip(plain, owned, strict=True):
        assert first.tobytes() == second.tobytes()


def test_first_passages() -> None:
    patents = PatentVectors(np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 0, 1, 2, 2, 2]))
    assert len(patents) == 3
    assert patents.first(np.array([2, 0])).tolist() == [[6, 7], [0, 1]]
    assert patents.depth(4) == 12
    assert patents.pairs(np.ones((1, 2), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)
    assert len(PatentVectors(patents.vectors)) == 6
    with pytest.raises(IndexError):
        patents.first(np.array([3]))
