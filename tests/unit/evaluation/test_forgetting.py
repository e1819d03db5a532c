import numpy as np
import pytest
from scipy.stats import spearmanr

from patent_embed.evaluation.forgetting import compare_general, general_texts, pair_similarities
from tests.evidence import unit


def vectors(quality: float, seed: int = 0) -> np.ndarray:
    """An encoder of the general texts: sentence, paraphrase, related. ``quality`` 1: as their grades, 0: noise."""
    rng = np.random.default_rng(seed)
    lines = len(general_texts()) // 3
    topic = rng.normal(size=(lines, 32))
    texts = np.stack([topic, topic + 0.2 * rng.normal(size=topic.shape), topic + 2 * rng.normal(size=topic.shape)], 1)
    return unit(quality * texts.reshape(-1, 32) + (1 - quality) * rng.normal(size=(3 * lines, 32)))


def test_the_sentences_are_of_both_languages_and_said_once() -> None:
    texts = general_texts()
    pairs = pair_similarities(vectors(1))
    assert len(set(texts)) == len(texts)
    assert all(text.strip() == text != "" for text in texts)
    grades = np.array(pairs["grade"].to_pylist())
    for language in ("zh", "en"):
        mine = np.array(pairs["language"].to_pylist()) == language
        assert [(grades[mine] == grade).sum() for grade in (0, 1, 2)] == [50, 50, 50]
    chinese = [any("一" <= char <= "鿿" for char in text) for text in texts]
    assert chinese == [True] * 150 + [False] * 150


def test_word_overlap_does_not_solve_the_pairs() -> None:
    """The paraphrase shares fewer characters than the related sentence: the grades ask for meaning."""
    texts = general_texts()

    def shared(one: str, other: str) -> float:
        one_set, other_set = ({text[i : i + 2] for i in range(len(text) - 1)} for text in (one, other))
        return len(one_set & other_set) / len(one_set | other_set)

    more = [shared(texts[i], texts[i + 2]) > shared(texts[i], texts[i + 1]) for i in range(0, len(texts), 3)]
    assert np.mean(more) > 0.8


def test_correlations_are_spearmans() -> None:
    pairs, other = pair_similarities(vectors(0.8)), pair_similarities(vectors(0.5))
    found = {f.language: f for f in compare_general("tuned", "base", pairs, other)}
    assert [found[name].pairs for name in ("all", "zh", "en")] == [300, 150, 150]
    expected = spearmanr(pairs["similarity"].to_numpy(), pairs["grade"].to_numpy()).statistic
    assert found["all"].system_correlation == pytest.approx(expected)
    assert found["all"].difference == pytest.approx(expected - found["all"].baseline_correlation)


def test_a_loss_of_meaning_is_a_drop() -> None:
    good, poor = pair_similarities(vectors(0.9)), pair_similarities(vectors(0.3))
    (worse, *_), (better, *_) = compare_general("t", "b", poor, good), compare_general("t", "b", good, poor)
    assert (worse.verdict, better.verdict) == ("worse", "better")
    assert worse.low < worse.difference < worse.high < 0
    same, *_ = compare_general("t", "b", good, good)
    assert (same.verdict, same.low, same.high) == ("no difference", 0, 0)


def test_an_encoder_that_finds_everything_alike_has_no_correlation() -> None:
    alike = pair_similarities(np.tile(unit(np.ones((1, 8))), (len(general_texts()), 1)))
    found, *_ = compare_general("t", "b", alike, pair_similarities(vectors(0.9)))
    assert found.system_correlation == 0
    assert found.verdict == "worse"
