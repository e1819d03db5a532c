"""Hashes that are the same on every machine and in every process: of texts, numbers, files and folders.

What they give decides splits, samples, negatives and the names of steps, so none of them may ever change.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from patent_embed.arrays import UInt64


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return stream_digest(file)


def stream_digest(file: BinaryIO) -> str:
    """SHA-256 of what is left of an open file."""
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed asks for more than is used


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a folder's files, at any depth; prose and hidden files do not count."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and path.suffix.lower() != ".md" and not any(part.startswith(".") for part in inside.parts):
            digest.update(f"{inside.as_posix()}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


def text_digest(*texts: str) -> str:
    """SHA-256, as 64 hex digits, of ``texts`` one after the other: what names settings, inputs and steps."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(text.encode())
    return digest.hexdigest()


def text_key(text: str, size: int = 16) -> str:
    """BLAKE2b of a text in ``size`` bytes, as hex digits: short and fast, for keys of many texts."""
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()


def hash64(text: str, seed: int, purpose: str) -> int:
    """A 64-bit hash that is the same on every machine and in every process.

    ``purpose`` (at most 16 characters) keeps draws apart: the patents of a sample must not all fall into one split.
    """
    key = seed.to_bytes(8, "little", signed=False)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=key, person=purpose.encode()).digest())


def hash_strings(strings: pa.Array, seed: int) -> UInt64:
    """A 64-bit hash of each string and the seed, (n,), the same on every machine and in every process. No nulls."""
    width = np.int64 if pa.types.is_large_string(strings.type) else np.int32
    out = np.empty(len(strings), np.uint64)
    first = np.uint64(seed % 2**64)
    for low in range(0, len(strings), 1 << 20):
        part = strings.slice(low, 1 << 20)
        _, offsets_buffer, data = part.buffers()
        offsets = np.frombuffer(offsets_buffer, width)[part.offset : part.offset + len(part) + 1].astype(np.int64)
        begin, length = offsets[:-1] - offsets[0], np.diff(offsets)
        raw = np.zeros(offsets[-1] - offsets[0] + 8, np.uint8)
        if data is not None:
            raw[:-8] = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
        # Eight bytes from any offset as one little-endian word; the bytes past a string's end are masked away.
        words = np.ndarray((len(raw) - 7,), "<u8", raw, strides=(1,))
        state = mix64(length.astype(np.uint64) + mix64(np.full(len(part), first)))
        for at in range(0, int(length.max(initial=0)), 8):
            rows = np.flatnonzero(length > at)
            spare = np.maximum(at + 8 - length[rows], 0).astype(np.uint64) * np.uint64(8)
            word = words[begin[rows] + at] & (np.uint64(2**64 - 1) >> spare)
            state[rows] = mix64(state[rows] ^ word)
        out[low : low + len(part)] = state
    return out


def mix64(values: UInt64) -> UInt64:
    """Each number mixed so that every bit depends on all of it: the finaliser of SplitMix64.

    Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014.
    """
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
