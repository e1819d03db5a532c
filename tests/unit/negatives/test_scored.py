"""Scored negatives: the filter and the choice against brute force over every allowed candidate."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patent_embed.config.negatives import NegativesConfig, ScoringConfig
from patent_embed.errors import UserError
from patent_embed.negatives import products, scored
from patent_embed.negatives.ladder import RUNGS
from patent_embed.negatives.scored import Embeddings, mine_scored_negatives
from patent_embed.strategies.shares import largest_remainder
from tests.unit.negatives.tables import CORPUS, STRATEGIES, allowed, expected_rungs, plain, tables

SCORING = st.sampled_from([{}, {"max_ratio": 0.5}, {"max_ratio": None}, {"max_ratio": None, "max_score": 0.3},
                           {"max_ratio": 0.9, "skip_hardest": 1, "take_within": 4}])  # fmt: skip


def unit(rng: np.random.Generator, rows: int, near: np.ndarray | None = None) -> np.ndarray:
    vectors = rng.normal(size=(rows, 6)).astype(np.float32)
    if near is not None:
        vectors = vectors + 2 * near
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def embed(corpus: pa.Table, seed: int) -> Embeddings:
    """Vectors for the passages, and none to two queries a patent near its passage."""
    rng = np.random.default_rng(seed)
    passages = unit(rng, len(corpus))
    of = np.repeat(np.arange(len(corpus)), rng.integers(0, 3, len(corpus)))
    of = rng.permutation(of)
    ids = corpus["publication_number"].combine_chunks().take(pa.array(of))
    return Embeddings(passages, unit(rng, len(of), passages[of]), ids)


def survivors(corpus: pa.Table, splits: pa.Table, embeddings: Embeddings, scoring: ScoringConfig) -> dict:
    """anchor → rung → [(score, candidate)], hardest first, of what the filter leaves."""
    ids = corpus["publication_number"].to_pylist()
    passage = dict(zip(ids, embeddings.passages, strict=True))
    queries: dict[str, list[np.ndarray]] = {}
    for name, vector in zip(embeddings.query_ids.to_pylist(), embeddings.queries, strict=True):
        queries.setdefault(name, []).append(vector)
    random = {name: [float(q @ embeddings.passages.mean(0)) for q in asked] for name, asked in queries.items()}
    truth = allowed(corpus, splits)
    out: dict[str, dict[str, list[tuple[float, str]]]] = {}
    for anchor in sorted(queries):
        out[anchor] = {rung: [] for rung in RUNGS}
        for rung, candidates in truth[anchor].items():
            for candidate in candidates:
                pairs = [(float(q @ passage[candidate]), float(q @ passage[anchor])) for q in queries[anchor]]
                ratio, cap = scoring.max_ratio, scoring.max_score
                if ratio is not None and any(
                    s > p - (1 - ratio) * abs(p - r) for (s, p), r in zip(pairs, random[anchor], strict=True)
                ):
                    continue
                if cap is not None and any(s > cap for s, _ in pairs):
                    continue
                out[anchor][rung].append((max(s for s, _ in pairs), candidate))
            out[anchor][rung].sort(key=lambda item: (-item[0], item[1]))
    return out


def window(items: list, scoring: ScoringConfig) -> list:
    return items[scoring.skip_hardest : scoring.take_within]


@settings(max_examples=120, deadline=None)
@given(CORPUS, st.sampled_from([*STRATEGIES, "hard"]), st.integers(1, 5), SCORING, st.integers(0, 5))
def test_choice_is_the_hardest_that_the_filter_leaves(
    patents: list, strategy: str, k: int, scoring: dict, seed: int
) -> None:
    corpus, splits = tables(patents)
    config = NegativesConfig(strategy=strategy, per_positive=k, scoring=ScoringConfig(**scoring))
    embeddings = embed(corpus, seed)
    mined = mine_scored_negatives(corpus, splits, config, 1, embeddings)
    left = survivors(corpus, splits, embeddings, config.scoring)
    got: dict[str, list[dict]] = {anchor: [] for anchor in left}
    for row in mined.table.to_pylist():
        got[row["publication_number"]].append(row)
    for anchor, rungs in left.items():
        rows = got[anchor]
        assert [row["rank"] for row in rows] == list(range(len(rows)))
        if strategy == "hard":
            near = sorted(rungs[RUNGS[0]] + rungs[RUNGS[1]], key=lambda item: (-item[0], item[1]))
            expected = window(near, config.scoring)[:k]
            expected += window(rungs["random"], config.scoring)[: k - len(expected)]
            assert [row["negative"] for row in rows] == [name for _, name in expected]
            found = {(rung, name): score for rung, items in rungs.items() for score, name in items}
            for row in rows:
                assert row["score"] == pytest.approx(found[row["rung"], row["negative"]], abs=1e-5)
            continue
        offered = {rung: window(items, config.scoring) for rung, items in rungs.items()}
        if strategy != "mixed":
            top = {"same_group_priority": 0, "same_subclass_different_group": 1, "random": 2}.get(strategy)
            counts = largest_remainder([0.6, 0.3, 0.1], k) if top is None else [k * (i == top) for i in range(3)]
            quota = dict(zip(RUNGS, counts, strict=True))
            assert Counter(row["rung"] for row in rows) == Counter(
                expected_rungs(quota, {rung: len(items) for rung, items in offered.items()}, strategy)
            )
        for rung in RUNGS:
            chosen = [(row["score"], row["negative"]) for row in rows if row["rung"] == rung]
            best = offered[rung][: len(chosen)]
            assert [name for _, name in chosen] == [name for _, name in best]
            assert [score for score, _ in chosen] == pytest.approx([score for score, _ in best], abs=1e-5)


def test_the_filter_is_the_same_on_any_scale_of_cosines() -> None:
    """Vectors that all lean to one side, as E5's do, have cosines between 0.8 and 1; the order of each is as before."""
    rng = np.random.default_rng(0)
    corpus, splits = plain([[f"G06T3/{i:02d}"] for i in range(60)])
    passages, ids = unit(rng, 60), corpus["publication_number"].combine_chunks()
    queries = unit(rng, 60, passages)
    side = np.full((60, 1), 2.0, np.float32)

    def leaning(vectors: np.ndarray) -> np.ndarray:
        return np.hstack([vectors, side]) / np.sqrt(5, dtype=np.float32)

    config = NegativesConfig(per_positive=5)
    plain_ones = mine_scored_negatives(corpus, splits, config, 0, Embeddings(passages, queries, ids))
    leaning_ones = mine_scored_negatives(
        corpus, splits, config, 0, Embeddings(leaning(passages), leaning(queries), ids)
    )
    assert leaning_ones.table.drop(["score"]) == plain_ones.table.drop(["score"])
    refused = plain_ones.report["filtered"]["above_ratio"]
    assert leaning_ones.report["filtered"]["above_ratio"] == refused > 0
    for found, floor in ((plain_ones, 0.0), (leaning_ones, 0.8)):
        assert found.report["scores"]["random"]["0.5"] == pytest.approx(floor, abs=0.1)


def test_large_containers_are_searched_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, [2, 9, 9], (300, 3)).tolist()
    codes = [[f"G06T{group}/{one:02d}", f"H04L1/{other:02d}"] for group, one, other in drawn]
    corpus, splits = plain(codes)
    passages = unit(rng, 300)
    embeddings = Embeddings(passages, passages, corpus["publication_number"].combine_chunks())
    config = NegativesConfig(strategy="hard", per_positive=5, scoring=ScoringConfig(max_ratio=None))
    whole = mine_scored_negatives(corpus, splits, config, 0, embeddings)
    monkeypatch.setattr(scored, "MAX_PRODUCTS", 1000)
    monkeypatch.setattr(products, "MAX_PRODUCTS", 1000)
    monkeypatch.setattr(scored, "_BLOCK", 7)
    parts = mine_scored_negatives(corpus, splits, config, 0, embeddings)
    assert parts.table.drop(["score"]) == whole.table.drop(["score"])
    assert whole.report["scores"]["positive"]["0.5"] == 1.0
    assert whole.report["scores"]["negative"]["0.05"] > 0.3  # the hardest of a hundred


@pytest.mark.parametrize("config", [NegativesConfig(strategy="hard"), NegativesConfig()])
def test_the_best_of_several_passages_counts(config: NegativesConfig) -> None:
    """Passages that lead away from all queries change nothing, wherever the patents stand; near ones refuse."""
    rng = np.random.default_rng(0)
    corpus, splits = plain([[f"G06T3/{i:02d}"] for i in range(30)])
    passages, ids = np.abs(unit(rng, 30)), corpus["publication_number"].combine_chunks()
    queries, owner = np.abs(unit(rng, 30, passages)), np.repeat(np.arange(30), 2)
    config = config.model_copy(update={"scoring": ScoringConfig(max_ratio=None, max_score=0.9)})

    def mined(second: np.ndarray, order: np.ndarray) -> pa.Table:
        both = np.stack([passages[order], second[order]], axis=1).reshape(60, -1)
        given = Embeddings(both, queries, ids, owner)
        return mine_scored_negatives(corpus.take(pa.array(order)), splits, config, 0, given).table.drop(["score"])

    alone = mine_scored_negatives(corpus, splits, config, 0, Embeddings(passages, queries, ids)).table.drop(["score"])
    as_it_was, turned = np.arange(30), rng.permutation(30)
    assert mined(-passages, as_it_was) == mined(-passages, turned) == alone
    near = np.repeat(queries[:1], 30, axis=0)  # all patents answer the first one's query in their second passage
    first = pc.equal(alone["publication_number"], ids[0])
    assert pc.sum(first).as_py() > 0
    assert pc.sum(pc.equal(mined(near, as_it_was)["publication_number"], ids[0])).as_py() in (0, None)
    with pytest.raises(ValueError, match="15 patents have passages, the corpus has 30"):
        mine_scored_negatives(corpus, splits, config, 0, Embeddings(passages, queries, ids, owner[:30]))


def test_rows_in_any_order() -> None:
    rng = np.random.default_rng(0)
    corpus, splits = plain([[f"G06T3/{i:02d}"] for i in range(30)])
    passages, queries = unit(rng, 30), unit(rng, 30)
    ids = corpus["publication_number"].combine_chunks()
    config = NegativesConfig(strategy="hard", scoring=ScoringConfig(max_ratio=None))
    mined = mine_scored_negatives(corpus, splits, config, 0, Embeddings(passages, queries, ids))
    a, b = rng.permutation(30), rng.permutation(30)
    turned = Embeddings(passages[a], queries[b], ids.take(pa.array(b)))
    again = mine_scored_negatives(corpus.take(pa.array(a)), splits, config, 0, turned)
    assert again.table.drop(["score"]) == mined.table.drop(["score"])


def test_mistakes_are_named() -> None:
    corpus, splits = plain([["G06T3/40"], ["G06T3/60"]])
    vectors = np.eye(2, dtype=np.float32)
    with pytest.raises(UserError, match="1 queries are of patents that are not in the corpus, the first of 'X'"):
        mine_scored_negatives(corpus, splits, NegativesConfig(), 0, Embeddings(vectors, vectors[:1], pa.array(["X"])))
    with pytest.raises(ValueError, match="unit length"):
        Embeddings(vectors * 2, vectors, corpus["publication_number"].combine_chunks())
    ids = corpus["publication_number"].combine_chunks()
    config = NegativesConfig(scoring=ScoringConfig(pool=4, skip_hardest=2))
    with pytest.raises(UserError, match="pool 4 less skip_hardest 2 cannot give 3"):
        mine_scored_negatives(corpus, splits, config, 0, Embeddings(vectors, vectors, ids))
    with pytest.raises(ValueError, match="passes over all 4 candidates"):
        ScoringConfig(pool=9, skip_hardest=4, take_within=4)
