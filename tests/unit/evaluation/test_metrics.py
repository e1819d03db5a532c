"""Retrieval metrics: by hand, and against scikit-learn and trec_eval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, ndcg_score

from patent_embed.evaluation import metrics
from patent_embed.evaluation.search import top_k

A, B, C = 0, 1, 2
# Documents 0..5; family A has three members, B one, C one (and document 5 is of nobody's family).
CORPUS = np.array([A, B, A, C, A, 3])


def hits(*rankings: list[int], groups: list[int]) -> tuple[np.ndarray, np.ndarray]:
    groups_ = np.array(groups)
    return metrics.hits(np.array(rankings), groups_, CORPUS), metrics.group_sizes(groups_, CORPUS)


def test_values_worked_out_by_hand() -> None:
    hit, relevant = hits([0, 1, 2, 5], [3, 2, 1, 5], [5, 3, 4, 0], [5, 3, 4, 0], groups=[A, B, B, C])
    assert hit.tolist() == [[1, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    assert relevant.tolist() == [3, 1, 1, 1]
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert metrics.ndcg(hit, relevant, 10) == pytest.approx([1.5 / ideal, 1 / 2, 0, 1 / math.log2(3)])
    assert metrics.ndcg(hit, relevant, 2) == pytest.approx([1 / (1 + 1 / math.log2(3)), 0, 0, 1 / math.log2(3)])
    assert metrics.reciprocal_rank(hit, 10).tolist() == pytest.approx([1, 1 / 3, 0, 1 / 2])
    assert metrics.reciprocal_rank(hit, 2).tolist() == [1, 0, 0, 1 / 2]
    assert metrics.recall(hit, relevant, 1).tolist() == pytest.approx([1 / 3, 0, 0, 0])
    assert metrics.recall(hit, relevant, 3).tolist() == pytest.approx([2 / 3, 1, 0, 1])
    assert metrics.average_precision(hit, relevant, 4) == pytest.approx([(1 + 2 / 3) / 3, 1 / 3, 0, 1 / 2])
    assert metrics.first_rank(hit).tolist() == [1, 3, 0, 2]


def test_places_that_a_ranking_does_not_fill_are_misses() -> None:
    # -1 would be the last document, which is of the query's family here.
    hit = metrics.hits(np.array([[1, -1, -1]]), np.array([7]), np.array([0, 0, 7]))
    assert not hit.any()
    assert metrics.first_rank(np.zeros((2, 0), bool)).tolist() == [0, 0]


def random_rankings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties (200, 40), groups of queries and documents; some queries have nothing to find."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 8, (200, 40)).astype(np.float32), rng.integers(0, 9, 200), rng.integers(0, 8, 40)


def test_agrees_with_scikit_learn_on_rankings_with_ties() -> None:
    scores, query_group, corpus_group = random_rankings()
    ranked = np.stack([top_k(row, 40)[1] for row in scores])
    hit, relevant = metrics.hits(ranked, query_group, corpus_group), metrics.group_sizes(query_group, corpus_group)
    ndcg, precision = metrics.ndcg(hit, relevant, 10), metrics.average_precision(hit, relevant, 40)
    for query in np.flatnonzero(relevant):
        gains, order = hit[query].astype(int), np.arange(40, 0, -1)  # scores without ties that keep our order
        assert ndcg[query] == pytest.approx(ndcg_score([gains], [order], k=10), abs=1e-12)
        assert precision[query] == pytest.approx(average_precision_score(gains, order), abs=1e-12)
    assert not ndcg[relevant == 0].any()
    assert not precision[relevant == 0].any()


@pytest.mark.parametrize("most", [1, 3])
def test_agrees_with_trec_eval_on_runs_with_ties(most: int) -> None:
    """Graded (``most`` 3) and not. trec_eval breaks ties by document number, highest first: so are rows numbered."""
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec-eval-terrier is not installed")
    rng = np.random.default_rng(most)
    scores, queries, documents = rng.integers(0, 8, (200, 40)).astype(np.float32), range(200), range(40)
    grades = rng.integers(0, most + 1, (200, 40)) * rng.integers(0, 2, (200, 40))
    grades[:20] = 0
    grades[:10, 7] = 1  # some have one right answer, some have none
    ranked = np.stack([top_k(row, 25)[1] for row in scores])
    gain, ideal = np.take_along_axis(grades, ranked, axis=1).astype(float), -np.sort(-grades, axis=1)
    hit, relevant = gain > 0, (grades > 0).sum(axis=1)
    ours = {
        "ndcg_cut_10": metrics.graded_ndcg(gain[:, :10], ideal[:, :10].astype(float)),
        "recip_rank": metrics.reciprocal_rank(hit, 25),
        "map_cut_25": metrics.average_precision(hit, relevant, 25),
        **{f"recall_{k}": metrics.recall(hit, relevant, k) for k in (1, 5, 10)},
    }
    if most == 1:
        np.testing.assert_allclose(metrics.ndcg(hit, relevant, 10), ours["ndcg_cut_10"], atol=1e-12)
    qrels = {f"q{q}": {f"d{99 - d}": int(grades[q, d]) for d in documents} for q in queries}
    # The same scores, ties and all; the run ends where the ranking does, so that recip_rank is cut at 25.
    run = {f"q{q}": {f"d{99 - d}": float(scores[q, d]) for d in ranked[q]} for q in queries}
    names = {"ndcg_cut.10", "recip_rank", "map_cut.25", "recall.1,5,10"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, names).evaluate(run)
    assert len(theirs) == 200
    for name, values in ours.items():
        expected = [theirs[f"q{q}"][name] for q in queries]
        np.testing.assert_allclose(values, expected, atol=1e-9, rtol=0, err_msg=name)
