"""Candidates from a corpus in fp16: the results are those of the fp32 vectors, to the bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from patent_embed.evaluation.halves import Halves
from patent_embed.evaluation.search import block_spans, exact_search, longest_of

if "fbgemm" not in torch.backends.quantized.supported_engines:
    pytest.skip("no FBGEMM here", allow_module_level=True)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def near(distance: float) -> tuple[np.ndarray, np.ndarray]:
    """4 queries and 3000 documents that are so far from one centre."""
    rng = np.random.default_rng(5)
    centre = rng.normal(size=(1, 256))
    return unit(centre + rng.normal(size=(4, 256))), unit(centre + distance * rng.normal(size=(3000, 256)))


@pytest.mark.parametrize("length", [1.0, 1e-3, 100.0])
@pytest.mark.parametrize("distance", [1.0, 1e-2, 1e-3, 3e-5])  # the nearest differ by less than fp16 can tell
@pytest.mark.parametrize("k", [10, 200])
def test_results_are_those_of_a_search_without(distance: float, k: int, length: float) -> None:
    queries, corpus = near(distance)
    corpus, longest = corpus * np.float32(length), length * 1.01
    allowed = np.random.default_rng(1).random(len(corpus)) < 0.5
    halves = Halves.of(corpus, block_spans(len(corpus), k, 512))
    assert halves is not None
    for mask in (None, allowed):
        expected = exact_search(queries, corpus, k, allowed=mask)
        found = exact_search(queries, corpus, k, allowed=mask, longest=longest, halves=halves)
        assert np.array_equal(found[1], expected[1])
        assert np.array_equal(found[0], expected[0])


def test_without_the_slack_for_the_rounding_results_would_be_lost() -> None:
    queries, corpus = near(1e-3)
    halves = Halves.of(corpus, block_spans(len(corpus), 10, 512))
    assert halves is not None
    assert 0 < halves.error <= 2.0**-11
    expected = exact_search(queries, corpus, 10)[1]
    blind = exact_search(queries, corpus, 10, longest=longest_of(corpus), halves=replace(halves, error=0.0))[1]
    assert not np.array_equal(blind, expected)


def test_what_fp16_cannot_hold_has_no_halves() -> None:
    assert Halves.of(np.full((3, 8), 1e6, np.float32), [(0, 3)]) is None
