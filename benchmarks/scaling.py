"""Ingest, negatives on Ray Data and embedding on one and on two Ray nodes, each pinned to a core of its own.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --records 7000 --rows 20000 --texts 128 --model_name DIR    # a smaller one

One JSON line a row: step, nodes, seconds. The start of the nodes does not count; that of their workers does, as in a
run, so each step is done twice and the second time is the one that is shown. The driver is not pinned.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.faults import write_patents
from benchmarks.negatives import CONFIG, SEED, generate
from patent_embed.artifacts import ModelRef
from patent_embed.config.settings import Config
from patent_embed.data import sample
from patent_embed.data.inputs import find_input
from patent_embed.encoder.hub import resolve_model
from patent_embed.folders import folder_at
from tests.ray_nodes import RayNodes


def steps(folder: Path, model: str, texts: int, nodes: int) -> None:
    """Driver: time the steps on the cluster of RAY_ADDRESS."""
    import ray

    from pipelines.embedders import embed_texts
    from pipelines.session import ray_session
    from pipelines.steps import ingest, negatives

    config = Config()
    found = find_input(str(folder / "patents"))
    splits = pq.read_table(folder / "splits.parquet")
    abstracts = [record["abstract"] for record in sample.generate(texts, seed=3)]
    table = pa.table({"text": abstracts, "kind": ["passage"] * texts})

    def run(step: str, out: Path) -> None:
        if step == "ingest":
            ingest.ingest(out, found, config.data, SEED, blocks=8)
        elif step == "negatives":
            corpus = ray.data.read_parquet(str(folder / "corpus"))
            negatives.mine_negatives_ray(corpus, splits, CONFIG, SEED, folder_at(out), parts=8)
        else:
            embed_texts(table, ModelRef(model), config.model)

    with ray_session("INFO"):
        for step in ("ingest", "negatives", "embed"):
            for _ in range(2):
                with tempfile.TemporaryDirectory() as out:
                    started = time.perf_counter()
                    run(step, Path(out))
                    seconds = time.perf_counter() - started
            print(json.dumps({"step": step, "nodes": nodes, "seconds": round(seconds, 1)}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=56_000, help="patents to ingest")
    parser.add_argument("--rows", type=int, default=300_000, help="patents to mine negatives for")
    parser.add_argument("--texts", type=int, default=4096, help="abstracts to embed")
    parser.add_argument("--model_name", default="bundled")
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # given to the driver
    options = parser.parse_args()
    if options.folder:
        steps(options.folder, options.model_name, options.texts, options.nodes[0])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_patents(folder / "patents", options.records)
        corpus, splits = generate(options.rows)
        (folder / "corpus").mkdir()
        for part in range(8):  # blocks that two nodes can share
            rows = corpus.slice(part * -(-len(corpus) // 8), -(-len(corpus) // 8))
            pq.write_table(rows, folder / "corpus" / f"{part}.parquet")
        pq.write_table(splits, folder / "splits.parquet")
        model = str(resolve_model(options.model_name))
        for nodes in options.nodes:
            with RayNodes(0, object_store_mib=1024) as cluster:
                for core in range(nodes):
                    cluster.add(1, core=core)
                command = [sys.executable, __file__, "--folder", folder, "--nodes", nodes, "--model_name", model]
                command += ["--texts", options.texts]
                subprocess.run(list(map(str, command)), env=os.environ | cluster.env, check=True)


if __name__ == "__main__":
    main()
