"""Metrics of judged answers: against trec_eval, on graded runs with ties and repeated texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.benchmark.tables import Item, assemble
from patent_embed.benchmark.trec import qrels_lines, run_lines
from patent_embed.data.schemas import BENCHMARK_METRICS
from patent_embed.evaluation.fusion import fuse
from patent_embed.evaluation.qrels import Qrels
from patent_embed.evaluation.rankings import DEPTH, Ranking, fused, judge, mean_intervals, retrieve
from patent_embed.evaluation.systems import Bm25, EmbeddingSystem

THEIRS = {
    "ndcg@10": "ndcg_cut_10",
    "ndcg@100": "ndcg_cut_100",
    "mrr@1000": "recip_rank",
    "map@1000": "map",
    "recall@10": "recall_10",
    "recall@100": "recall_100",
    "recall@1000": "recall_1000",
}


def array(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def test_grades_and_ideal_by_hand() -> None:
    qrels = Qrels.of(array(1, 0, 1, 1), array(2, 0, 0, 5), array(1, 2, 3, -1))
    assert qrels.queries.tolist() == [0, 1]
    assert qrels.grades(array(1, 0), np.array([[0, 5, -1], [0, 2, 1]])).tolist() == [[3, 0, 0], [2, 0, 0]]
    assert qrels.ideal(array(1, 0, 7), 3).tolist() == [[3, 1, 0], [2, 0, 0], [0, 0, 0]]
    assert qrels.ideal(array(1), 1).tolist() == [[3]]
    assert qrels.relevant(array(7, 1, 0)).tolist() == [0, 2, 1]


def test_a_pair_has_one_grade() -> None:
    with pytest.raises(ValueError, match="more than once"):
        Qrels.of(array(0, 0), array(1, 1), array(1, 2))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Item], list[Item], list[tuple[str, str, str, int]], np.ndarray]:
    """Documents of few texts, queries, grades from -1 to 3 (of documents that are not there, too), and a score of each
    text and query, of few values."""
    count, texts, asked = draw(st.integers(1, 30)), draw(st.integers(1, 6)), draw(st.integers(1, 4))
    ids = draw(st.lists(st.text("aBz09-é专", min_size=1, max_size=4), min_size=count, max_size=count, unique=True))
    documents = [Item(each, f"text {draw(st.integers(0, texts - 1))}") for each in ids]
    grades = st.dictionaries(st.sampled_from([*ids, "absent"]), st.integers(-1, 3), min_size=1, max_size=12)
    judged = [("test", f"q{q}", doc, grade) for q in range(asked) for doc, grade in draw(grades).items()]
    scores = draw(st.lists(st.integers(-3, 3), min_size=asked * texts, max_size=asked * texts))
    table = np.array(scores, np.float32).reshape(asked, texts) / 7
    return documents, [Item(f"q{q}", "asks") for q in range(asked)], judged, table


class Given:
    """A system whose scores are given (q, n); like all others, it orders by (-score, row)."""

    scale = "cosine"

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.argsort(-self.scores[queries], axis=1, kind="stable")[:, :k]
        return np.take_along_axis(self.scores[queries], rows, axis=1), rows

    def pairs(self, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        return self.scores[queries, passages]


@given(worlds())
def test_figures_are_those_of_trec_eval(world: tuple) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec-eval-terrier is not installed")
    documents, queries, judged, scores = world
    found = assemble("made", documents, queries, judged)
    text = [int(each.split()[1]) for each in found.documents["text"].to_pylist()]
    ranking = retrieve(Given(scores[:, text]), len(queries), found.excluded_rows())
    assert Ranking.of_table(ranking.table(), len(queries)).rows.tolist() == ranking.rows.tolist()
    ours = judge("made", "cosine", ranking, found.queries, found.judgements(), found.documents["doc_id"])
    asked = [f"q{row}" for row in ours.per_query["query_no"].to_pylist()]
    qrels: dict[str, dict[str, int]] = {}
    for _, query, document, grade in judged:
        qrels.setdefault(query, {})[document] = grade
    names = {"ndcg_cut.10,100", "recip_rank", "map", "recall.10,100,1000"}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, names)
    # The scores themselves, ties and all; and the lines that we write of them.
    scored = {
        query: {each.id: float(scores[int(query[1:]), int(each.text[5:])]) for each in documents} for query in qrels
    }
    lines = list(run_lines(ranking.table(), found.queries["query_id"], found.documents["doc_id"], "made"))
    for theirs in (evaluator.evaluate(scored), evaluator.evaluate(pytrec_eval.parse_run(lines))):
        for name in BENCHMARK_METRICS:
            expected = [theirs[query][THEIRS[name]] for query in asked]
            np.testing.assert_allclose(ours.per_query[name].to_numpy(), expected, atol=1e-9, rtol=0, err_msg=name)
    assert pytrec_eval.parse_qrel(qrels_lines(found.qrels)) == qrels


def test_more_documents_than_a_run_holds() -> None:
    """1,200 documents, most of them equal: what stands behind the thousandth was not found, as in a run."""
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="pytrec-eval-terrier is not installed")
    rng = np.random.default_rng(5)
    ids = [f"d{n}" for n in range(1200)]
    scores = rng.integers(0, 4, (3, 1200)).astype(np.float32)
    judged = [("test", f"q{q}", ids[n], int(rng.integers(0, 4))) for q in range(3) for n in rng.permutation(1200)[:200]]
    found = assemble("large", [Item(each, each) for each in ids], [Item(f"q{q}", "") for q in range(3)], judged)
    order = [int(each[1:]) for each in found.documents["doc_id"].to_pylist()]
    ranking = retrieve(Given(scores[:, order]), 3, found.excluded_rows())
    assert ranking.rows.shape == (3, DEPTH)
    ours = judge("large", "cosine", ranking, found.queries, found.judgements(), found.documents["doc_id"])
    lines = run_lines(ranking.table(), found.queries["query_id"], found.documents["doc_id"], "large")
    qrels = pytrec_eval.parse_qrel(qrels_lines(found.qrels))
    theirs = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut", "recip_rank", "map", "recall"}).evaluate(
        pytrec_eval.parse_run(lines)
    )
    for name in BENCHMARK_METRICS:
        expected = [theirs[f"q{q}"][THEIRS[name]] for q in range(3)]
        np.testing.assert_allclose(ours.per_query[name].to_numpy(), expected, atol=1e-9, rtol=0, err_msg=name)


def test_what_is_excluded_is_not_found_and_does_not_cost_a_place() -> None:
    scores = np.array([[5, 4, 3, 2, 1], [1, 2, 3, 4, 5]], np.float32)
    ranking = retrieve(Given(scores), 2, (array(0, 0), array(0, 2)), depth=3)
    assert ranking.rows.tolist() == [[1, 3, 4], [4, 3, 2]]
    assert ranking.scores.tolist() == [[4, 2, 1], [5, 4, 3]]
    all_out = retrieve(Given(scores), 2, (array(1, 1, 1, 1, 1), array(0, 1, 2, 3, 4)), depth=5)
    assert all_out.rows.tolist() == [[0, 1, 2, 3, 4], [-1] * 5]


def test_two_rankings_are_fused_query_by_query() -> None:
    vectors = np.eye(3, dtype=np.float32)
    one = retrieve(EmbeddingSystem(vectors[:2], vectors), 2, (array(), array()))
    other = retrieve(Bm25(["a b", "b", "c"], ["b", "zzz"]), 2, (array(), array()))
    both = fused((one, other))
    for query in range(2):
        parts = [(each.scores[query], each.rows[query]) for each in (one, other)]
        expected = fuse([(s[r >= 0], r[r >= 0]) for s, r in parts], DEPTH)[1]
        assert both.rows[query][both.rows[query] >= 0].tolist() == expected.tolist()


def test_an_interval_of_the_mean_draws_whole_patents() -> None:
    ids = [Item("right", "a"), Item("wrong", "b")]
    asked = [Item(f"{patent}{n:02}", "", {"publication_number": patent}) for patent in "ab" for n in range(50)]
    judged = [("test", item.id, "right", 1) for item in asked]
    found = assemble("two patents", ids, asked, judged)
    first = np.array([[0, 1]] * 50 + [[1, 0]] * 50, np.float32)  # rows from the largest id down: wrong, right
    ranking = retrieve(Given(first), 100, found.excluded_rows())
    result = judge("s", "cosine", ranking, found.queries, found.judgements(), found.documents["doc_id"])
    (interval,) = mean_intervals(result, ("recall@10",), 0)
    assert (interval.split, interval.queries, interval.mean) == ("test", 100, 1.0)
    (interval,) = mean_intervals(result, ("mrr@1000",), 0)
    # Of two patents, whose means are 1 and 0.5; of 100 queries it were narrow.
    assert (interval.mean, interval.low, interval.high) == (0.75, 0.5, 1.0)
