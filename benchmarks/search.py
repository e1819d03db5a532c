#!/usr/bin/env python3
"""Exact search: 2,000 queries against N embeddings, beside faiss-cpu's flat index. One JSON line a row.

  pip install faiss-cpu
  python benchmarks/search.py                      # N = 200,000, a minute
  python benchmarks/search.py --documents 1000000  # 3 GB of embeddings
  python benchmarks/search.py --documents 1000000 --device cuda

Both get the same float32 arrays in memory and the same number of threads, in turns; medians. faiss's time is that of
``search``; adding the vectors (a copy of all of them) is not counted. The rows are clustered, like embeddings of
documents are. ``same_rows``: queries whose rows and scores equal those of the search without a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--k", type=int, default=50)
    parser.add_argument("--block", type=int, default=8192)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", help="a torch device for a row of its own; the embeddings stay in host memory")
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)  # read when the libraries load, so before any import of them
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import numpy as np

    from patent_embed.evaluation.search import exact_search

    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1_000, args.dim), dtype=np.float32)

    def vectors(count: int) -> Any:
        rows = centres[rng.integers(0, len(centres), count)]
        for begin in range(0, count, 65_536):
            part = rows[begin : begin + 65_536]
            part += rng.standard_normal(part.shape, dtype=np.float32)
            part /= np.linalg.norm(part, axis=1, keepdims=True)
        return rows

    corpus, queries = vectors(args.documents), vectors(args.queries)
    shape = {"documents": args.documents, "queries": args.queries, "dim": args.dim, "k": args.k}
    shape |= {"threads": args.threads, "corpus_mib": corpus.nbytes >> 20}

    def ours() -> Any:
        return exact_search(queries, corpus, args.k, block=args.block)

    def products_only() -> None:
        for begin in range(0, len(corpus), args.block):
            queries @ corpus[begin : begin + args.block].T

    searches: dict[str, Callable[[], Any]] = {"patent_embed": ours, "matrix products alone": products_only}
    on_device = f"patent_embed, {args.device}"
    if args.device:
        searches[on_device] = lambda: exact_search(queries, corpus, args.k, block=args.block, device=args.device)
        exact_search(queries, corpus[: args.block], args.k, device=args.device)  # CUDA's start
    theirs = ""
    try:
        import faiss
    except ImportError:
        print(json.dumps({"name": "faiss flat", "skipped": "faiss-cpu is not installed"}))
    else:
        faiss.omp_set_num_threads(args.threads)
        index = faiss.IndexFlatIP(args.dim)
        index.add(corpus)
        theirs = f"faiss {faiss.__version__} flat"
        searches[theirs] = lambda: index.search(queries, args.k)

    seconds: dict[str, list[float]] = {name: [] for name in searches}
    processor: dict[str, list[float]] = {name: [] for name in searches}
    found: dict[str, Any] = {}
    for _ in range(args.repeats):  # one after the other, so that what else runs on the machine meets all of them
        for name, search in searches.items():
            started, cpu = time.perf_counter(), time.process_time()
            found[name] = search()
            seconds[name].append(round(time.perf_counter() - started, 3))
            processor[name].append(round(time.process_time() - cpu, 3))
    for name in searches:
        row = {"name": name, **shape, "seconds": statistics.median(seconds[name]), "all": seconds[name]}
        row |= {"cpu_seconds": statistics.median(processor[name])}  # far below threads * seconds: the machine was busy
        print(json.dumps(row | {"load": round(os.getloadavg()[0], 1)}), flush=True)
    if args.device:
        same = [(mine == cpu).all(axis=1) for mine, cpu in zip(found[on_device], found["patent_embed"], strict=True)]
        print(json.dumps({"name": on_device, **shape, "same_rows": float(np.mean(same[0] & same[1]))}), flush=True)
    if theirs:
        ratios = [mine / other for mine, other in zip(seconds["patent_embed"], seconds[theirs], strict=True)]
        same = np.sort(found["patent_embed"][1], axis=1) == np.sort(found[theirs][1], axis=1)
        row = {"name": "ratio", **shape, "ours_over_faiss": round(statistics.median(ratios), 3)}
        row |= {"all": [round(ratio, 3) for ratio in ratios], "same_sets": float(same.all(axis=1).mean())}
        print(json.dumps(row), flush=True)
    tracemalloc.start()  # numpy reports its arrays to it; slow, so not while timing
    ours()
    peak = tracemalloc.get_traced_memory()[1] >> 20
    print(json.dumps({"name": "patent_embed memory", **shape, "block": args.block, "peak_mib": peak}), flush=True)


if __name__ == "__main__":
    main()
