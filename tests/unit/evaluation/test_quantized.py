from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from patent_embed.evaluation.agreement import unit
from patent_embed.evaluation.quantized import CANDIDATES, PRECISIONS, QuantizedSystem, Quantizer, candidates
from patent_embed.evaluation.search import exact_search

pytest.importorskip("usearch", reason="needs the extra [usearch]")


def vectors(count: int, dim: int = 64) -> np.ndarray:
    """Clusters in a cone, as an encoder's vectors lie."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((20, dim)) + 2 * rng.standard_normal(dim)
    return unit((centres[rng.integers(0, 20, count)] + 0.5 * rng.standard_normal((count, dim))).astype(np.float32))


def test_int8_and_bits_by_hand() -> None:
    sample = np.array([[1.0, -0.5, 0.0, 0.25], [0.5, -0.5, 0.5, -0.25]], np.float32)
    quantizer = Quantizer.of("binary", sample)
    assert quantizer.mean.tolist() == [0.75, -0.5, 0.25, 0.0]
    assert quantizer.largest == 0.25
    found = quantizer(sample)
    # Of ±0.25, 0, ±0.25, ±0.25: floor((x + 0.25) / (0.5 / 255)) - 128, where the quotient of 255 may be a little less.
    assert np.abs(found.int8 - np.array([[127, -1, -128, 127], [-128, -1, 127, -128]])).max() <= 1
    assert np.abs(quantizer.restored(found.int8) - sample).max() <= 0.25 / 255 + 1e-6
    assert found.bits is not None
    assert [f"{row[0]:08b}"[:4] for row in found.bits] == ["1001", "0010"]
    assert found.searched is found.bits
    assert found.nbytes == 8 + 2


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_rescored_search_finds_what_the_exact_one_does(precision: str, tmp_path: Path) -> None:
    corpus = vectors(2000)
    queries = unit(corpus[::20] + 0.02 * np.random.default_rng(1).standard_normal((100, 64)).astype(np.float32))
    quantizer = Quantizer.of(precision, corpus[:500])
    system = QuantizedSystem(quantizer, queries, quantizer(corpus))
    scores, rows = system.search(np.arange(100), 10)
    expected = exact_search(queries, corpus, 10)[1]
    same = np.mean([len(set(one) & set(other)) for one, other in zip(rows, expected, strict=True)]) / 10
    assert same > 0.9
    assert (np.diff(scores, axis=1) <= 0).all()
    np.testing.assert_allclose(system.pairs(np.arange(100), rows[:, 0]), scores[:, 0], atol=1e-5)
    quantizer.write(tmp_path)
    assert json.loads((tmp_path / "quantizer.json").read_text())["precision"] == precision


def test_candidates_are_those_of_plain_loops() -> None:
    corpus = vectors(200, 16)
    for precision in PRECISIONS:
        found = Quantizer.of(precision, corpus)(corpus)
        asked = Quantizer.of(precision, corpus).asked(corpus[:5])
        few = candidates(asked, found.searched, 8)
        if found.bits is None:
            near = -(asked.astype(int) @ found.int8.astype(int).T)
        else:
            near = np.unpackbits(asked[:, None] ^ found.bits[None], axis=2).sum(axis=2)
        best = np.sort(near, axis=1)[:, :8]
        assert np.array_equal(np.sort(np.take_along_axis(near, few, axis=1), axis=1), best)
    assert CANDIDATES["binary"] > CANDIDATES["int8"]
