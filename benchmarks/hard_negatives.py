"""Scored negatives with the embeddings given, beside sentence-transformers' ``mine_hard_negatives``.

    python benchmarks/hard_negatives.py --rows 20000 100000
    python benchmarks/hard_negatives.py --rows 100000 --method ours --device cuda

Generated patents (benchmarks/negatives.py, one split) with vectors of 384 numbers that cluster by subclass, group and
code, and one query each. Both sides get the same vectors, refuse what scores above 0.95 of the positive's score, and
take the three hardest of the rest. ``hard`` looks in the anchor's groups and subclasses, sentence-transformers in the
whole corpus, without knowledge of codes and families. One JSON line a row, each from a process of its own:
``peak_gib`` is the process's largest resident size, ``before_gib`` what it was before the mining (libraries, vectors).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

sys.path.insert(0, str(Path(__file__).resolve().parent))
from negatives import generate

from patent_embed.config.negatives import NegativesConfig, ScoringConfig
from patent_embed.negatives.scored import Embeddings, mine_scored_negatives

DIM, K, RATIO = 384, 3, 0.95


def vectors(corpus: pa.Table, seed: int = 1) -> Embeddings:
    """A passage is the sum of the centres of its first code, group and subclass and of noise; a query is near it."""
    rng = np.random.default_rng(seed)
    codes = [c[0] for c in corpus["codes"].to_pylist()]
    passages = rng.normal(size=(len(codes), DIM)).astype(np.float32)
    for weight, level in ((1.0, lambda c: c), (1.0, lambda c: c.partition("/")[0]), (1.0, lambda c: c[:4])):
        _, number = np.unique([level(c) for c in codes], return_inverse=True)
        passages += weight * rng.normal(size=(number.max() + 1, DIM)).astype(np.float32)[number]
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    queries = passages + rng.normal(size=passages.shape, scale=0.8 / DIM**0.5).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return Embeddings(passages, queries, corpus["publication_number"].combine_chunks())


class GivenVectors:
    """What ``mine_hard_negatives`` asks of a model, for texts that are row numbers. Products are made on ``device``;
    from the arrays that it gets, the library itself would make them on the CPU and only rank on the device."""

    def __init__(self, embeddings: Embeddings, device: str) -> None:
        self._embeddings, self.device = embeddings, device

    def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
        return self._embeddings.queries[[int(text[1:]) for text in texts]]

    def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
        return self._embeddings.passages[[int(text[1:]) for text in texts]]

    def similarity(self, one: Any, other: Any) -> Any:
        import torch

        return torch.as_tensor(one).to(self.device) @ torch.as_tensor(other).to(self.device).T

    def similarity_pairwise(self, one: Any, other: Any) -> Any:
        import torch

        return (torch.as_tensor(one) * torch.as_tensor(other)).sum(-1)


def with_sentence_transformers(embeddings: Embeddings, device: str) -> tuple[np.ndarray, np.ndarray]:
    from datasets import Dataset
    from sentence_transformers.util import mine_hard_negatives

    rows = range(len(embeddings.passages))
    pairs = Dataset.from_dict({"query": [f"q{i}" for i in rows], "passage": [f"p{i}" for i in rows]})
    mined = mine_hard_negatives(
        pairs,
        GivenVectors(embeddings, device),
        num_negatives=K,
        relative_margin=1 - RATIO,
        output_format="triplet",
        verbose=False,
    )
    return tuple(np.array([int(text[1:]) for text in mined[name]]) for name in ("query", "negative"))


def ours(corpus: pa.Table, splits: pa.Table, embeddings: Embeddings, device: str) -> tuple[np.ndarray, np.ndarray]:
    config = NegativesConfig(strategy="hard", per_positive=K, scoring=ScoringConfig(max_ratio=RATIO))
    table = mine_scored_negatives(corpus, splits, config, 0, embeddings, device=device).table
    ids = corpus["publication_number"].combine_chunks()
    return tuple(pc.index_in(table[name], value_set=ids).to_numpy() for name in ("publication_number", "negative"))


def measure(method: str, rows: int, device: str) -> dict[str, Any]:
    corpus, splits = generate(rows)
    splits = splits.set_column(2, "split", pa.array(["train"] * rows))
    embeddings = vectors(corpus)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if method == "sentence_transformers":
        import datasets  # noqa: F401  (imports are not timed)
        import sentence_transformers  # noqa: F401
    started = time.perf_counter()
    if method == "ours":
        anchors, negatives = ours(corpus, splits, embeddings, device)
    else:
        anchors, negatives = with_sentence_transformers(embeddings, device)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    codes = [set(c) for c in corpus["codes"].to_pylist()]
    family = splits["family"].to_numpy()
    score = np.einsum("nd,nd->n", embeddings.queries[anchors], embeddings.passages[negatives])
    positive = np.einsum("nd,nd->n", embeddings.queries[anchors], embeddings.passages[anchors])
    shared = [bool(codes[a] & codes[b]) for a, b in zip(anchors.tolist(), negatives.tolist(), strict=True)]
    return {
        "benchmark": "hard_negatives",
        "method": method,
        "device": device,
        "rows": rows,
        "seconds": round(seconds, 2),
        "peak_gib": round(peak, 2),
        "before_gib": round(before, 2),
        "negatives": len(negatives),
        "mean_score": round(float(score.mean()), 4),
        "above_ratio": int((score > RATIO * positive + 1e-6).sum()),
        "share_a_full_code": round(float(np.mean(shared)), 4),
        "same_family": round(float(np.mean(family[anchors] == family[negatives])), 5),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[20_000, 100_000])
    parser.add_argument("--method", nargs="*", default=["ours", "sentence_transformers"])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    jobs = [(method, rows) for rows in options.rows for method in options.method]
    if len(jobs) == 1:
        print(json.dumps(measure(*jobs[0], options.device)), flush=True)
        return
    for method, rows in jobs:
        arguments = ["--rows", str(rows), "--method", method, "--device", options.device]
        subprocess.run([sys.executable, __file__, *arguments], check=False)


if __name__ == "__main__":
    main()
