"""BM25 in parts of the texts is BM25 of all of them, which bm25s computes."""

from __future__ import annotations

import numpy as np
import pytest

from patent_embed.data import sample
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.evaluation.bm25_parts import Bm25Parts
from patent_embed.evaluation.search import top_k

TEXTS = [each["abstract"] for each in sample.generate(150, seed=4)]
TEXTS[17:17] = ["，。", ""]  # without a word
QUERIES = [*(text[5:30] for text in TEXTS[::11]), "量子纠缠", "？", TEXTS[3][:12] * 2, "一种"]


@pytest.mark.parametrize("rows", [7, 64, 1000])
def test_scores_are_those_of_one_index(rows: int) -> None:
    whole, parts = Bm25Index.build(TEXTS), Bm25Parts(iter(TEXTS), rows)
    assert parts.size == whole.size == len(TEXTS)
    expected = np.stack([whole.scores(query) for query in QUERIES])
    query, text = (each.ravel() for each in np.indices(expected.shape))
    shuffled = np.random.default_rng(0).permutation(expected.size)
    found = parts.pairs(QUERIES, query[shuffled], text[shuffled])
    np.testing.assert_array_equal(found, expected.ravel()[shuffled])
    scores, ranked = parts.search(QUERIES, 20)
    for place, each in enumerate(expected):
        best, order = top_k(each, 20)
        np.testing.assert_array_equal(scores[place], best)
        np.testing.assert_array_equal(ranked[place], np.where(best > 0, order, -1))


@pytest.mark.parametrize("texts", [[], ["，"], ["水泵"]])
def test_few_texts(texts: list[str]) -> None:
    parts = Bm25Parts(texts)
    scores, rows = parts.search(["水泵", "？"], 5)
    assert scores.shape == rows.shape == (2, len(texts))
    assert rows.tolist() == [[0] if texts == ["水泵"] else [-1] * len(texts), [-1] * len(texts)]
    assert parts.pairs(["水泵"], np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0,)
