import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from patent_embed.data import schemas
from patent_embed.errors import UserError
from patent_embed.evaluation import search
from patent_embed.evaluation.comparison import compare
from patent_embed.evaluation.measure import EvalResult, evaluate, headline_mask
from patent_embed.evaluation.systems import Bm25, EmbeddingSystem, words
from tests.conftest import ROOT


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def brute_force(queries: np.ndarray, corpus: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All pairs by the definition, sorted by (-score, row)."""
    n = len(corpus)
    scores = np.stack([search.pair_scores(queries, corpus, np.full(n, q), np.arange(n)) for q in range(len(queries))])
    rows = np.stack([np.lexsort((np.arange(n), -row))[:k] for row in scores])
    return np.take_along_axis(scores, rows, axis=1), rows


# Exact search


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


# Evaluation

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


def sources(**counts: int) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array([source for source, count in counts.items() for _ in range(count)], pa.string())])


def test_headline_leaves_rule_queries_out_where_enough_others_exist() -> None:
    assert headline_mask(sources(llm=30, rules=100, cache=20), None).sum() == 50
    assert headline_mask(sources(llm=49, rules=100), None).sum() == 149
    assert headline_mask(sources(llm=30, rules=100, cache=20), ["rules", "llm"]).sum() == 130
    assert headline_mask(sources(), ["llm"]).shape == (0,)
    with pytest.raises(UserError, match=r"^evaluation.query_sources \['api'\].*llm 3, rules 2.*to measure on"):
        headline_mask(sources(rules=2, llm=3), ["api"])


def test_an_unknown_id_is_an_error() -> None:
    with pytest.raises(ValueError, match="CN9"):
        evaluate("x", Given([0.0] * 6), queries_table([("CN9", "llm")]), splits_table(), negatives_table())


# Comparison


def result_with(name: str, ndcg: np.ndarray, patents: list[str] | None = None) -> EvalResult:
    count = len(ndcg)
    columns = {field.name: pa.nulls(count, field.type) for field in schemas.PER_QUERY}
    columns |= {
        "publication_number": pa.array(patents or [f"CN{i:04d}" for i in range(count)], pa.string()),
        "query_no": pa.array(range(count), pa.int32()),
        "split": pa.array(["test"] * count, pa.string()),
        "headline": pa.array([True] * count),
        "ndcg@10": pa.array(ndcg),
    }
    return EvalResult(name, "cosine", pa.table(columns, schema=schemas.PER_QUERY))


def test_compare_says_better_worse_or_no_difference() -> None:
    rng = np.random.default_rng(10)
    base = rng.uniform(0, 0.8, 100)
    better = compare(result_with("tuned", base + rng.uniform(0, 0.2, 100)), result_with("base", base), seed=1)
    assert better is not None
    assert better.verdict == "better"
    assert better.p_value < 0.001
    assert better.low < better.difference < better.high
    assert better.difference == pytest.approx(better.system_mean - better.baseline_mean)
    worse = compare(result_with("tuned", base - rng.uniform(0, 0.2, 100)), result_with("base", base), seed=1)
    assert worse is not None
    assert worse.verdict == "worse"
    same = compare(result_with("tuned", base + rng.normal(0, 0.2, 100)), result_with("base", base), seed=1)
    assert same is not None
    assert same.verdict == "no difference"
    assert same.low < 0 < same.high
    few = compare(result_with("tuned", np.array([0.6, 0.7])), result_with("base", np.array([0.5, 0.5])), seed=1)
    assert few is not None
    assert few.verdict == "no difference"  # always better, but two queries prove nothing


def test_compare_needs_the_same_queries() -> None:
    ndcg = np.linspace(0, 1, 4)
    with pytest.raises(ValueError, match="not measured on the same test queries"):
        compare(result_with("a", ndcg), result_with("b", ndcg, patents=["CN1", "CN2", "CN3", "CN5"]))
    assert compare(result_with("a", ndcg), result_with("b", ndcg), split="val") is None


# BM25

PASSAGES = [
    "一种水泵，包括叶轮和泵体，叶轮与电机轴连接。",
    "一种LED灯具，包括散热器和灯罩。",
    "一种水泵，包括叶轮和泵体，叶轮与电机轴连接。",
    "一种锁具，钥匙插入锁芯后转动。",
]


def test_words_are_lower_case_and_without_punctuation() -> None:
    assert words("LED灯具，（散热）") == ["led", "灯具", "散热"]
    assert words("，。 ！") == []


def test_bm25_finds_by_words_with_ties_by_row_and_nothing_without_a_common_word() -> None:
    system = Bm25(PASSAGES, ["水泵的叶轮", "led散热", "量子计算", "？"])
    scores, rows = system.search(np.arange(4), 3)
    assert rows.tolist() == [[0, 2, -1], [1, -1, -1], [-1, -1, -1], [-1, -1, -1]]
    assert scores[0, 0] == scores[0, 1] > 0
    pairs = system.pairs(np.array([1, 0, 0, 2]), np.array([1, 2, 3, 0]))
    assert pairs.tolist() == [scores[1, 0], scores[0, 1], 0, 0]
    assert Bm25(["，", "。"], ["水泵"]).search(np.arange(1), 2)[1].tolist() == [[-1, -1]]


def test_bm25_leaves_gpus_alone(tmp_path: Path) -> None:
    """Where JAX is installed bm25s computes with it at import; on a GPU that would take most of its memory."""
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("from . import lax\n")
    (tmp_path / "jax" / "lax.py").write_text(
        "import os\nprint('JAX on', os.environ.get('JAX_PLATFORMS'))\ndef top_k(values, k): return values, k\n"
    )
    code = "from patent_embed.evaluation.systems import Bm25; Bm25(['晾衣架'], ['晾衣架'])"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, ROOT)))}
    environment.pop("JAX_PLATFORMS", None)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "JAX on cpu\n", done.stderr


# Validation in training


def test_validation_ndcg_is_that_of_the_vectors(tiny_model: Path) -> None:
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.evaluation import metrics
    from patent_embed.training.validation import RetrievalSet, validation_ndcg

    encoder = Encoder.load(tiny_model)
    passages, asked = [text + "装置" * i for i, text in enumerate(PASSAGES)], ["水泵", "灯具散热", "锁芯"]
    groups, own = np.array([0, 1, 0, 2]), np.array([0, 1, 2])
    data = RetrievalSet(encoder.tokenize(asked, "query"), encoder.tokenize(passages, "passage"), own, groups)
    similarity = encoder.encode(asked, "query") @ encoder.encode(passages, "passage").T
    ranked = np.argsort(-similarity, axis=1)
    hit = metrics.hits(ranked, own, groups)
    expected = metrics.ndcg(hit, metrics.group_sizes(own, groups), 10).mean()
    assert validation_ndcg(encoder, data) == pytest.approx(expected)
