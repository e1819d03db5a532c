import numpy as np
import pyarrow as pa
import pytest

from patent_embed.evaluation import metrics
from patent_embed.evaluation.relevance import IpcRelevance

CODES = pa.chunked_array(
    [
        [["G06T3/40"], ["G06T3/40", "H04L9/08"], ["G06T3/60"]],
        [["A01B1/02"], ["H04L9/08"], ["B60L7/10"]],  # the last one: of document 0's family, filed under another code
    ],
    pa.list_(pa.string()),
)
FAMILY = np.array([0, 1, 2, 3, 4, 0])


def test_grades_are_2_for_a_full_code_or_the_family_and_1_for_a_main_group() -> None:
    relevance = IpcRelevance(CODES, FAMILY)
    ranked = np.array([[0, 1, 2, 3, 4, 5], [4, 3, 2, 1, 0, -1]])
    assert relevance.grades(np.array([0, 1]), ranked).tolist() == [[2, 2, 1, 0, 0, 2], [2, 0, 1, 2, 2, 0]]


def test_the_ideal_ranking_has_the_grades_sorted() -> None:
    relevance = IpcRelevance(CODES, FAMILY)
    assert relevance.ideal(np.array([0, 1, 3]), 5).tolist() == [[2, 2, 2, 1, 0], [2, 2, 2, 1, 0], [2, 0, 0, 0, 0]]
    assert relevance.ideal(np.array([0]), 2).tolist() == [[2, 2]]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_the_ideal_is_what_all_grades_sorted_would_give(k: int) -> None:
    rng = np.random.default_rng(4)
    symbols = [f"G0{digit}B{group}/{number}" for digit in (1, 2) for group in (1, 2, 3) for number in (10, 20, 30)]
    lists = [rng.choice(symbols, 2, replace=False).tolist() for _ in range(80)]
    relevance = IpcRelevance(pa.chunked_array([lists], pa.list_(pa.string())), rng.integers(0, 60, 80))
    own = np.arange(80)
    everything = relevance.grades(own, np.broadcast_to(own, (80, 80)))
    np.testing.assert_array_equal(relevance.ideal(own, k), -np.sort(-everything, axis=1)[:, :k])
    best = np.argsort(-everything, axis=1, kind="stable")[:, :k]
    assert metrics.graded_ndcg(relevance.grades(own, best), relevance.ideal(own, k)) == pytest.approx(np.ones(80))
