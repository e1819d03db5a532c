"""Texts per second through the embed step of the pipeline, on 1, 2, 4, ... GPUs of one host.

    python benchmarks/embedding.py --texts 1000000 --gpus 1,2,4,8      # BERT-base, random weights
    python benchmarks/embedding.py --toy                               # CPU, seconds: that it runs

Generated abstracts of 130 to 332 tokens, all different, from a table on the driver to vectors on the driver; --texts
for the largest number of GPUs, and as many a GPU in the other rows. One JSON line a row: ``texts_per_s`` without the
start of the workers (from the first block that came back to the last), one long run a row. ``seconds`` has everything.
``ratio`` is to the first row.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.train_throughput import HAN, make_model
from patent_embed.artifacts import ModelRef
from patent_embed.config.model import ModelConfig
from patent_embed.progress.events import TextsEmbedded
from pipelines.embedders import embed_texts
from pipelines.resources import NodeSize, cluster_nodes
from pipelines.session import ray_session


def abstracts(count: int, toy: bool) -> list[str]:
    """Random Han characters, as many as ``benchmarks/train_throughput.py`` gives a passage."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(10, 23, count) if toy else rng.integers(128, 331, count)  # without [CLS] and [SEP]
    characters, ends = np.array(HAN, "<U1"), np.cumsum(lengths)
    texts: list[str] = []
    for begin in range(0, count, 65_536):
        own = ends[begin : begin + 65_536] - (ends[begin - 1] if begin else 0)
        row = characters[rng.integers(0, len(HAN), own[-1])].tobytes().decode("utf-32-le")
        texts += [row[a:b] for a, b in zip([0, *own[:-1]], own, strict=True)]
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=200_000)
    parser.add_argument("--gpus", type=lambda text: [int(n) for n in text.split(",")], default=[1], help="1,2,4,8")
    parser.add_argument("--toy", action="store_true", help="4,096 short texts and a tiny encoder on the CPU")
    args = parser.parse_args()
    count = 4_096 if args.toy else args.texts
    with tempfile.TemporaryDirectory() as scratch, ray_session("INFO"):
        model = ModelRef(str(make_model(Path(scratch), "toy" if args.toy else "bert-base")))
        table = pa.table({"text": abstracts(count, args.toy), "kind": ["passage"] * count})
        cores = int(sum(node.cpus for node in cluster_nodes()))
        first = 0.0
        for gpus in args.gpus:
            own = table.slice(0, count * gpus // max(args.gpus))
            progress: list[TextsEmbedded] = []
            started = time.perf_counter()

            def emit(event: TextsEmbedded, seen: list[TextsEmbedded] = progress) -> None:
                seen.append(event)
                if len(seen) % 50 == 0:
                    print(f"{event.done} of {event.total} texts in {event.seconds:.1f} s", file=sys.stderr, flush=True)

            vectors = embed_texts(own, model, ModelConfig(), emit, [NodeSize(cores, 0 if args.toy else gpus)])
            seconds = time.perf_counter() - started
            speed = progress[-1].done / progress[-1].seconds  # without the start of the workers
            first = first or speed
            row = {
                "benchmark": "embedding",
                "gpus": 0 if args.toy else gpus,
                "texts": len(own),
                "texts_per_s": round(speed, 1),
                "ratio": round(speed / first, 2),
                "seconds": round(seconds, 1),
                "norms_off": float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max()),
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
