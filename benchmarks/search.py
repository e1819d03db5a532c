#!/usr/bin/env python3
"""Exact search: 2,000 queries against N embeddings, beside faiss-cpu's flat index. One JSON line a row.

  pip install faiss-cpu
  python benchmarks/search.py                      # N = 200,000, a minute
  python benchmarks/search.py --documents 1000000  # 3 GB of embeddings

Both get the same float32 arrays in memory and the same number of threads. faiss's time is that of ``search``; adding
the vectors (a copy of all of them) is not counted. The rows are clustered, like embeddings of documents are.
"""

from __future__ import annotations

import argparse
import json
import os
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
    args = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(args.threads)  # read when the libraries load, so before any import of them
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    import numpy as np

    from patent_embed.search import exact_search

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

    def measure(name: str, search: Callable[[], Any]) -> tuple[float, Any]:
        seconds, processor, result = [], [], None
        for _ in range(args.repeats):
            started, cpu = time.perf_counter(), time.process_time()
            result = search()
            seconds.append(time.perf_counter() - started)
            processor.append(time.process_time() - cpu)
        row = {"name": name, **shape, "seconds": round(min(seconds), 3), "all": [round(s, 3) for s in seconds]}
        row["cpu_seconds"] = round(min(processor), 3)  # far below threads * seconds: the machine was busy
        print(json.dumps(row), flush=True)
        return min(seconds), result

    def products_only() -> None:
        for begin in range(0, len(corpus), args.block):
            queries @ corpus[begin : begin + args.block].T

    ours, (_, rows) = measure("patent_embed", lambda: exact_search(queries, corpus, args.k, block=args.block))
    tracemalloc.start()  # numpy reports its arrays to it; slow, so not while timing
    exact_search(queries, corpus, args.k, block=args.block)
    peak = tracemalloc.get_traced_memory()[1] >> 20
    tracemalloc.stop()
    print(json.dumps({"name": "patent_embed memory", **shape, "block": args.block, "peak_mib": peak}), flush=True)
    measure("matrix products alone", products_only)
    try:
        import faiss
    except ImportError:
        print(json.dumps({"name": "faiss flat", "skipped": "faiss-cpu is not installed"}))
        return
    faiss.omp_set_num_threads(args.threads)
    index = faiss.IndexFlatIP(args.dim)
    index.add(corpus)
    theirs, (_, faiss_rows) = measure(f"faiss {faiss.__version__} flat", lambda: index.search(queries, args.k))
    same = float((np.sort(rows, axis=1) == np.sort(faiss_rows, axis=1)).all(axis=1).mean())
    print(json.dumps({"name": "ratio", **shape, "ours_over_faiss": round(ours / theirs, 3), "same_sets": same}))


if __name__ == "__main__":
    main()
