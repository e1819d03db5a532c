"""Measuring: values worked out by hand, and what does not matter."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from patent_embed.data.schemas import JUDGED
from patent_embed.errors import UserError
from patent_embed.evaluation import search
from patent_embed.evaluation.measure import evaluate, headline_mask
from patent_embed.evaluation.systems import EmbeddingSystem


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


IDS = ["CN1", "CN2", "CN3", "CN4", "CN5", "CN6"]


def splits_table(split: str = "test") -> pa.Table:
    """CN1 and CN4 are one family; CN6 is a training patent."""
    families = ["CN1", "CN2", "CN3", "CN1", "CN5", "CN6"]
    return pa.table({"publication_number": IDS, "family": families, "split": [split] * 5 + ["train"]})


def queries_table(rows: list[tuple[str, str]]) -> pa.Table:
    return pa.table(
        {
            "publication_number": [number for number, _ in rows],
            "query_no": pa.array(
                [sum(n == number for n, _ in rows[:i]) for i, (number, _) in enumerate(rows)], "int32"
            ),
            "query": ["?"] * len(rows),
            "source": [source for _, source in rows],
            "kind": ["question"] * len(rows),
        }
    )


def negatives_table(*pairs: tuple[str, str]) -> pa.Table:
    columns = {"publication_number": [p for p, _ in pairs], "negative": [n for _, n in pairs]}
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


class Given:
    """A system with given similarities: a row a query."""

    scale = "cosine"

    def __init__(self, *similarities: list[float]) -> None:
        self.matrix = np.array(similarities, np.float32)

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        found = [search.top_k(self.matrix[q], min(k, self.matrix.shape[1])) for q in queries]
        return np.stack([s for s, _ in found]), np.stack([r for _, r in found])

    def pairs(self, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        return self.matrix[queries, passages]


def test_evaluate_against_values_worked_out_by_hand() -> None:
    system = Given(
        [0.9, 0.1, 0.1, 0.8, 0.2, 0.1],  # CN6, a training patent: not measured
        [0.2, 0.1, 0.8, 0.9, 0.3, 0.4],  # CN1: its family member CN4 is first, itself fifth
        [0.7, 0.5, 0.5, 0.1, 0.2, 0.3],  # CN2 behind CN1, and before CN3 with the same score
    )
    queries = queries_table([("CN6", "llm"), ("CN1", "llm"), ("CN2", "cache")])
    negatives = negatives_table(("CN2", "CN3"), ("CN1", "CN5"), ("CN2", "CN4"), ("CN1", "CN2"))
    result = evaluate("x", system, queries, splits_table(), negatives)
    rows = result.per_query.to_pylist()
    assert [(row["publication_number"], row["rank"], row["relevant"]) for row in rows] == [("CN1", 1, 2), ("CN2", 2, 1)]
    first, second = rows
    assert (first["first"], second["first"]) == ("CN4", "CN1")
    assert first["negative_similarities"] == pytest.approx([0.1, 0.3])
    assert second["negative_similarities"] == pytest.approx([0.5, 0.1])
    assert first["graded_ndcg@10"] is None  # no codes were given
    assert first["recall@1"] == 0.5
    assert first["recall@5"] == 1
    assert first["map@50"] == pytest.approx((1 + 2 / 5) / 2)
    assert first["mrr@10"] == 1
    assert second["mrr@10"] == 0.5
    assert (first["triplets"], first["triplets_won"]) == (2, 1)  # 0.2 against 0.3 and 0.1
    assert (second["triplets"], second["triplets_won"]) == (2, 1)  # 0.5 against 0.5, which is no win, and 0.1
    summary = result.summary("test")
    assert (summary["queries"], summary["sources"]) == (2, ["cache", "llm"])
    assert summary["metrics"]["triplet_accuracy"] == 0.5
    assert summary["metrics"]["positive_similarity"] == pytest.approx((0.2 + 0.5) / 2)
    assert summary["metrics"]["negative_similarity"] == pytest.approx((0.3 + 0.1 + 0.5 + 0.1) / 4)
    assert summary["by_source"]["llm"]["metrics"]["mrr@10"] == 1
    assert summary["by_source"]["cache"]["queries"] == 1
    nothing = result.summary("val")
    assert nothing["queries"] == 0
    assert set(nothing["metrics"].values()) == {None}


def test_graded_relevance_counts_what_shares_a_code() -> None:
    codes = pa.chunked_array([[["G06T3/40"], ["G06T3/60"], ["G06T3/40"], ["A01B1/00"], ["H01B1/00"], ["B60L7/10"]]])
    system = Given([0.4, 0.8, 0.9, 0.1, 0.7, 0.2])  # CN3, CN2, CN5, CN1, CN6, CN4
    result = evaluate("x", system, queries_table([("CN1", "llm")]), splits_table(), negatives_table(), None, codes)
    discount = 1 / np.log2(np.arange(2, 8))
    # CN3 has CN1's code, CN2 its main group; CN4 is of its family and counts 2 with a code of its own.
    expected = np.dot([2, 1, 0, 2, 0, 2], discount) / np.dot([2, 2, 2, 1, 0, 0], discount)
    assert result.per_query["graded_ndcg@10"].to_pylist() == [pytest.approx(expected)]
    assert result.summary("test")["metrics"]["graded_ndcg@10"] == pytest.approx(expected)


def test_a_query_without_negatives_has_no_triplets() -> None:
    result = evaluate(
        "x",
        Given([0.9, 0.1, 0.1, 0.8, 0.2, 0.1], [0.1, 0.9, 0, 0, 0, 0]),
        queries_table([("CN1", "llm"), ("CN2", "llm")]),
        splits_table(),
        negatives_table(("CN2", "CN3")),
    )
    assert result.per_query["negative_similarity"].to_pylist() == [None, 0.0]
    assert result.summary("test")["metrics"]["triplet_accuracy"] == 1
    none = evaluate("x", Given([0.9] * 6), queries_table([("CN1", "llm")]), splits_table(), negatives_table())
    assert none.summary("test")["metrics"]["triplet_accuracy"] is None


def test_order_of_queries_and_negatives_does_not_matter() -> None:
    rng = np.random.default_rng(9)
    passages, vectors = unit(rng.normal(size=(6, 8))), unit(rng.normal(size=(5, 8)))
    numbers = ["CN1", "CN2", "CN3", "CN4", "CN5"]
    pairs = [("CN1", "CN2"), ("CN1", "CN5"), ("CN2", "CN1"), ("CN5", "CN3"), ("CN5", "CN1")]
    result = evaluate(
        "x",
        EmbeddingSystem(vectors, passages),
        queries_table([(number, "llm") for number in numbers]),
        splits_table(),
        negatives_table(*pairs),
    )
    turned = evaluate(
        "x",
        EmbeddingSystem(vectors[::-1].copy(), passages),
        queries_table([(number, "llm") for number in numbers[::-1]]),
        splits_table(),
        negatives_table(*pairs[::-1]),
    )
    assert turned.per_query.sort_by("publication_number").equals(result.per_query)


def test_an_unknown_id_is_an_error() -> None:
    with pytest.raises(ValueError, match="CN9"):
        evaluate("x", Given([0.0] * 6), queries_table([("CN9", "llm")]), splits_table(), negatives_table())


def sources(**counts: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([source for source, count in counts.items() for _ in range(count)], pa.string())])


def test_headline_leaves_rule_queries_out_where_enough_others_exist() -> None:
    assert headline_mask(sources(llm=30, rules=100, cache=20), None).sum() == 50
    assert headline_mask(sources(llm=49, rules=100), None).sum() == 149
    assert headline_mask(sources(llm=30, rules=100, cache=20), ["rules", "llm"]).sum() == 130
    assert headline_mask(sources(llm=1, rules=100), None, "val").sum() == 1  # it judges trainings
    assert headline_mask(sources(rules=100), None, "val").sum() == 100
    assert headline_mask(sources(), ["llm"]).shape == (0,)
    with pytest.raises(UserError, match=r"^evaluation.query_sources \['api'\].*llm 3, rules 2.*to measure on"):
        headline_mask(sources(rules=2, llm=3), ["api"])


def test_what_was_judged_relevant_is_a_right_answer_and_no_negative() -> None:
    system = Given([0.1, 0.8, 0.9, 0.3, 0.2, 0.7], [0.1, 0.8, 0.9, 0.3, 0.2, 0.7])
    queries = queries_table([("CN2", "judged"), ("CN5", "llm")])
    queries = queries.set_column(2, "query", pa.array(["水泵  叶轮", "阀门"]))
    said = [
        ("水泵 叶轮", "CN1", True),
        ("水泵 叶轮", "CN6", True),
        ("水泵 叶轮", "CN3", False),
        ("水泵 叶轮", "CN2", True),
    ]
    columns = [list(column) for column in zip(*said, strict=True)] + [["test"] * 4]
    judged = pa.table(dict(zip(JUDGED.names, columns, strict=True)), schema=JUDGED)
    negatives = negatives_table(("CN2", "CN3"), ("CN2", "CN4"), ("CN5", "CN4"))
    codes = pa.chunked_array([[["G06T3/40"]] * 6])
    result = evaluate("x", system, queries, splits_table(), negatives, None, codes, judged)
    first, second = result.per_query.to_pylist()
    # CN2, CN6, and CN1 with its family CN4, at places 2, 3, 4 and 6.
    assert (first["relevant"], first["rank"], first["recall@5"]) == (4, 2, 0.75)
    gained = sum(1 / np.log2(place + 1) for place in (2, 3, 4, 6))
    assert first["ndcg@10"] == pytest.approx(gained / sum(1 / np.log2(place + 1) for place in (1, 2, 3, 4)))
    assert first["negative_similarities"] == pytest.approx([0.9])  # CN4 is of a family that is relevant
    assert first["graded_ndcg@10"] is None
    assert (second["relevant"], second["rank"], second["triplets"]) == (1, 5, 1)
    assert second["graded_ndcg@10"] is not None


def test_judged_queries_count_beside_any_others_and_displace_none() -> None:
    few = pa.chunked_array([["judged", "rules", "rules"]])
    assert headline_mask(few, None, "val").tolist() == [True, True, True]
    assert headline_mask(pa.chunked_array([["rules"]]), ["judged"], "val").tolist() == [False]
    with pytest.raises(UserError, match="matches none"):
        headline_mask(pa.chunked_array([["rules"]]), ["judged"], "test")
    written = pa.chunked_array([["judged", "rules", "llm"]])
    assert headline_mask(written, None, "val").tolist() == [True, False, True]
