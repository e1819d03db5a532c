"""A map between two encoders' vectors, and the folder that carries it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_model
from patent_embed.encoder.vector_map import append_map, fit_maps, mapped
from tests.unit.encoder.models import TEXTS

OLD, NEW = 12, 8


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_a_rotation_is_found_again() -> None:
    rng = np.random.default_rng(0)
    new = unit(rng.normal(size=(200, NEW)))
    turn = np.linalg.qr(rng.normal(size=(OLD, NEW)))[0]
    old = (new @ turn.T).astype(np.float32)
    found = fit_maps(old, new)["rotation"]
    np.testing.assert_allclose(found, turn, atol=1e-5)
    np.testing.assert_allclose(mapped(new[:5], found), old[:5], atol=1e-5)


def test_scores_are_kept_where_lengths_are_not() -> None:
    rng = np.random.default_rng(1)
    new = rng.normal(size=(500, NEW)).astype(np.float32)
    stretch = rng.normal(size=(OLD, NEW)) * np.geomspace(1, 30, NEW)
    old = (new @ stretch.T + 3.0).astype(np.float32)  # what is added to all passages ranks nothing
    queries = rng.normal(size=(50, NEW)).astype(np.float32)
    wanted = np.argsort(-(queries @ new.T), axis=1)[:, :10]
    maps = fit_maps(old, new)
    found = {
        name: np.mean(
            [
                len(set(a) & set(b)) / 10
                for a, b in zip(np.argsort(-(mapped(queries, each) @ old.T), axis=1)[:, :10], wanted, strict=True)
            ]
        )
        for name, each in maps.items()
    }
    assert found["scores, ridge 0.0001"] > 0.95 > found["rotation"]
    assert all(each.shape == (OLD, NEW) and each.dtype == np.float32 for each in maps.values())


def test_vectors_that_are_all_alike_raise_nothing() -> None:
    same = np.ones((4, NEW), np.float32)
    assert all(np.isfinite(each).all() for each in fit_maps(same, same).values())
    assert not mapped(np.zeros((1, NEW), np.float32), np.eye(NEW, dtype=np.float32)).any()


@pytest.mark.parametrize("rows", [(1, 1), (3, 4)])
def test_what_is_no_sample_is_refused(rows: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="no sample of the same passages"):
        fit_maps(np.ones((rows[0], 2), np.float32), np.ones((rows[1], 2), np.float32))


def test_sentence_transformers_gives_the_mapped_vectors(tiny_model: Path, tmp_path: Path) -> None:
    encoder = Encoder.load(tiny_model)
    out = export_model(encoder, tmp_path / "model")
    weight = np.random.default_rng(2).normal(size=(OLD, encoder.dim)).astype(np.float32)
    append_map(out, weight)
    expected = mapped(encoder.encode(TEXTS, "query", precision="fp32"), weight)
    stock = SentenceTransformer(str(out), device="cpu")
    np.testing.assert_allclose(stock.encode_query(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(Encoder.load(out).encode(TEXTS, "query", precision="fp32"), expected, atol=1e-5)
    # Once more, behind a model that ends in a Dense layer already.
    square = np.random.default_rng(3).normal(size=(OLD, OLD)).astype(np.float32)
    append_map(out, square)
    stock = SentenceTransformer(str(out), device="cpu")
    np.testing.assert_allclose(stock.encode_query(TEXTS), mapped(expected, square), atol=1e-5)
    modules = json.loads((out / "modules.json").read_text())
    (out / "modules.json").write_text(json.dumps(modules[:-1]))
    with pytest.raises(ValueError, match="Dense"):
        append_map(out, weight)
