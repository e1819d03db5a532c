"""Hashes that are the same everywhere and must never change."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa

from patent_embed.hashing import file_digest, folder_digest, hash64, hash_strings, text_digest, text_key


def test_hash_is_the_same_everywhere() -> None:
    texts = ["", "a", "CN1A", "CN123456789A", "专利", "x" * 40]
    hashes = hash_strings(pa.array(texts), 7)
    assert hash_strings(pa.array(texts)[2:5], 7).tolist() == hashes[2:5].tolist()  # a slice shares its buffers
    assert hash_strings(pa.array(texts, pa.large_string()), 7).tolist() == hashes.tolist()
    assert [slow_hash(text.encode(), 7) for text in texts] == hashes.tolist()
    many = hash_strings(pa.array([f"CN{i}" for i in range(100_000)]), 7)
    assert len(np.unique(many)) == 100_000
    assert np.abs(np.unpackbits(many.view(np.uint8).reshape(-1, 8), axis=1).mean(axis=0) - 0.5).max() < 0.01


def slow_hash(text: bytes, seed: int) -> int:
    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    state = mix((len(text) + mix(seed)) % 2**64)
    for at in range(0, len(text), 8):
        state = mix(state ^ int.from_bytes(text[at : at + 8], "little"))
    return state


def test_draws_digests_and_keys_stay_as_they_are() -> None:
    # Splits, samples, stored answers and the names of steps hang on these.
    assert hash64("CN1A", 42, "split") == 4978601750360551362
    assert hash64("专利", 0, "query kind") == 8761835828955786153
    assert text_digest("专", "利") == text_digest("专利") == hashlib.sha256("专利".encode()).hexdigest()
    assert text_key("专利") == "f8acdb22c7a3f9b88500726493688849"
    assert text_key("a", 4) == "ca234c55"


def test_a_file_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("one")
    assert file_digest(tmp_path / "sub" / "a.txt") == text_digest("one")
    assert folder_digest(tmp_path) == text_digest(f"sub/a.txt\0{text_digest('one')}\n")


def test_folder_digest_follows_content_and_names_not_prose(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"1")
    first = folder_digest(tmp_path)
    (tmp_path / "README.md").write_text("card")
    assert folder_digest(tmp_path) == first
    (tmp_path / "w.safetensors").write_bytes(b"2")
    assert folder_digest(tmp_path) != first
