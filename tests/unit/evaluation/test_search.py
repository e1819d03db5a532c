"""Exact search: the definition, whatever the blocks, and ties."""

from __future__ import annotations

import numpy as np
import pytest

from patent_embed.evaluation import search


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute_force(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs by the definition, sorted by (-score, row)."""
    n = len(corpus)
    scores = np.stack([search.pair_scores(queries, corpus, np.full(n, q), np.arange(n)) for q in range(len(queries))])
    rows = np.stack([np.lexsort((np.arange(n), -row))[:k] for row in scores])
    return np.take_along_axis(scores, rows, axis=1), rows


def test_pair_scores_are_inner_products() -> None:
    rng = np.random.default_rng(0)
    queries, corpus = unit(rng.normal(size=(5, 33))), unit(rng.normal(size=(9, 33)))
    q, d = np.repeat(np.arange(5), 9), np.tile(np.arange(9), 5)
    expected = (queries.astype(np.float64) @ corpus.astype(np.float64).T).ravel()
    np.testing.assert_allclose(search.pair_scores(queries, corpus, q, d), expected, atol=1e-7)


@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize(
    ("documents", "distinct", "k"),
    [
        (2000, 2000, 50),
        (2000, 300, 10),  # most documents are there several times
        (1500, 1, 5),  # a collapsed encoder: all are the same
        (40, 40, 50),  # fewer than k
        (300, 300, 300),
    ],
)
def test_search_is_exact_whatever_the_block(documents: int, distinct: int, k: int, device: str | None) -> None:
    rng = np.random.default_rng(documents + k)
    corpus = unit(rng.normal(size=(distinct, 48)))[rng.integers(0, distinct, documents)]
    queries = unit(rng.normal(size=(23, 48)))
    scores, rows = brute_force(queries, corpus, min(k, documents))
    for block in (1, 97, 1024, 8192):
        found_scores, found_rows = search.exact_search(queries, corpus, k, block=block, device=device)
        np.testing.assert_array_equal(found_rows, rows)
        np.testing.assert_array_equal(found_scores, scores)


@pytest.mark.parametrize("share", [0.5, 0.01, 0.0])
def test_only_what_is_allowed_is_found(share: float) -> None:
    rng = np.random.default_rng(5)
    corpus = unit(rng.normal(size=(200, 16)))[rng.integers(200, size=3000)]
    queries, allowed = unit(rng.normal(size=(7, 16))), rng.random(3000) < share
    chosen = np.flatnonzero(allowed)
    expected_scores, expected_rows = brute_force(queries, corpus[chosen], 20)
    for longest in (None, search.longest_of(corpus, block=700)):
        scores, rows = search.exact_search(queries, corpus, 20, block=512, allowed=allowed, longest=longest)
        assert rows.tolist() == chosen[expected_rows].tolist()
        assert scores.tolist() == expected_scores.tolist()


def test_near_ties_below_the_error_of_a_matrix_product_are_told_apart() -> None:
    rng = np.random.default_rng(5)
    centre = rng.normal(size=(1, 256))
    corpus = unit(centre + 3e-5 * rng.normal(size=(3000, 256)))  # similarities differ by a few units in the last place
    queries = unit(centre + rng.normal(size=(4, 256)))
    scores, rows = brute_force(queries, corpus, 20)
    found_scores, found_rows = search.exact_search(queries, corpus, 20, block=256)
    np.testing.assert_array_equal(found_rows, rows)
    np.testing.assert_array_equal(found_scores, scores)


def test_documents_that_are_not_of_unit_length_have_a_wider_error_and_get_it() -> None:
    rng = np.random.default_rng(6)
    centre = rng.normal(size=(1, 256))
    corpus = unit(centre + 3e-7 * rng.normal(size=(3000, 256)))
    corpus[1000:] *= 1e4
    queries = unit(centre + rng.normal(size=(4, 256)))
    found = search.exact_search(queries, corpus, 20, block=128)
    np.testing.assert_array_equal(found[1], brute_force(queries, corpus, 20)[1])


def test_search_in_several_query_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    corpus, queries = unit(rng.normal(size=(500, 16))), unit(rng.normal(size=(50, 16)))
    whole = search.exact_search(queries, corpus, 5)
    monkeypatch.setattr(search, "QUERY_BLOCK", 16)
    np.testing.assert_array_equal(search.exact_search(queries, corpus, 5)[1], whole[1])
    assert search.exact_search(queries[:0], corpus, 5)[1].shape == (0, 5)
    assert search.exact_search(queries, corpus[:0], 5)[1].shape == (50, 0)


def test_search_refuses_what_has_no_order() -> None:
    corpus = unit(np.random.default_rng(8).normal(size=(20, 4)))
    broken = corpus.copy()
    broken[7, 2] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        search.exact_search(corpus, broken, 3)
    with pytest.raises(ValueError, match="NaN"):
        search.exact_search(broken, corpus, 3)
    with pytest.raises(ValueError, match=r"\(20, 3\)"):
        search.exact_search(corpus[:, :3], corpus, 3)


def test_shards_merge_into_what_a_search_in_all_gives() -> None:
    rng = np.random.default_rng(11)
    corpus = unit(rng.normal(size=(60, 8)))[rng.integers(0, 60, 500)]  # ties within shards and across them
    queries = unit(rng.normal(size=(7, 8)))
    whole = search.exact_search(queries, corpus, 12)
    parts = []
    for begin, end in ((200, 205), (0, 200), (205, 500)):  # in any order, one smaller than k
        scores, rows = search.exact_search(queries, corpus[begin:end], 12)
        parts.append((scores, rows + begin))
    merged = search.merge_top_k(parts, 12)
    np.testing.assert_array_equal(merged[1], whole[1])
    np.testing.assert_array_equal(merged[0], whole[0])


def test_top_k_breaks_ties_by_row() -> None:
    scores, rows = search.top_k(np.array([1, 3, 2, 3, 2, 2], np.float32), 4)
    assert rows.tolist() == [1, 3, 2, 4]
    assert scores.tolist() == [3, 3, 2, 2]


@pytest.mark.parametrize("decimals", [0, 1, 6])
@pytest.mark.parametrize("k", [0, 1, 10, 201])
def test_top_k_of_many_is_that_of_a_plain_sort(k: int, decimals: int) -> None:
    """A sample tells where the best begin, unless as many are equal as of whole numbers."""
    scores = np.random.default_rng(k).gamma(1, size=20_000).round(decimals).astype(np.float32)
    best, rows = search.top_k(scores, k)
    expected = np.lexsort((np.arange(len(scores)), -scores))[:k]
    assert rows.tolist() == expected.tolist()
    assert best.tolist() == scores[expected].tolist()
