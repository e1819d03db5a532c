"""Ingest, negatives in parts and embedding on one and on two Ray nodes, each pinned to a core of its own.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --records 7000 --rows 20000 --texts 128 --model_name DIR    # a smaller one
    python benchmarks/scaling.py --memory 50000 200000    # what the driver of a run holds, an encoder of two layers

One JSON line a row: step, nodes, seconds. The start of the nodes does not count; that of their workers does, as in a
run, so each step is done twice and the second time is the one that is shown. The driver is not pinned.

With ``--memory``: the steps of a run up to ``tokens``, or with ``--no_vectors`` those of them that need no encoder, one
process for each number of patents; a line a step with the most memory that the driver had in it, all that is resident
and what of that is its own (neither files that are mapped nor Ray's object store), then a line a step with the bytes of
it that a patent more takes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.faults import write_patents
from benchmarks.ingest import write as write_lines
from benchmarks.negatives import CONFIG, SEED, generate
from patent_embed.artifacts import ModelRef
from patent_embed.config.settings import Config
from patent_embed.data import sample
from patent_embed.data.inputs import find_input
from patent_embed.encoder.hub import resolve_model
from patent_embed.folders import folder_at
from tests.ray_nodes import RayNodes
from tests.tiny_model import write_tiny_model


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
            corpus = [ray.put(pq.read_table(path)) for path in sorted((folder / "corpus").glob("*.parquet"))]
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


class Peak:
    """The most memory that this process had since it was asked last."""

    def __init__(self) -> None:
        self._own = self._resident = 0
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._look()
            time.sleep(0.02)

    def _look(self) -> None:
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        own, resident = (int(status[name].split()[0]) for name in ("RssAnon", "VmRSS"))
        self._own, self._resident = max(self._own, own), max(self._resident, resident)

    def ask(self) -> dict[str, int]:
        """MiB, and begin anew."""
        found = {"own_mib": self._own >> 10, "resident_mib": self._resident >> 10}
        self._own = self._resident = 0
        return found


def driver(folder: Path, patents: int, *, vectors: bool = True) -> None:
    """Driver: the steps of a run up to ``tokens``, and what they took. Without ``vectors``: those that need none."""
    from pipelines.engine import Output, Runner, needed_for
    from pipelines.recipe import run_recipe
    from pipelines.session import ray_session

    config = Config()
    config.data.data_dir, config.run.output_dir = str(folder / "patents"), str(folder / "out")
    config.model.name, config.queries.backend = str(folder / "tiny" / "model"), "rules"
    config.negatives.scoring.enabled, config.negatives.scoring.max_ratio = (
        vectors,
        None,
    )  # random weights find all alike
    recipe = run_recipe(config)
    assert recipe.tokens is not None
    steps = (
        recipe.steps[: recipe.steps.index(recipe.tokens) + 1] if vectors else needed_for(recipe.tokens, recipe.steps)
    )
    peak, started = Peak(), time.perf_counter()
    with ray_session("INFO"):
        runner = Runner(Output(folder_at(config.run.output_dir)), use_cache=False)

        def after() -> None:
            nonlocal started
            step = list(runner.results.by_name)[-1]
            seconds, started = round(time.perf_counter() - started, 1), time.perf_counter()
            print(json.dumps({"patents": patents, "step": step, **peak.ask(), "seconds": seconds}), flush=True)

        runner.run(steps, after=after)


def memory(sizes: list[int], *, vectors: bool) -> None:
    """What the driver holds at each of two sizes, or more, and of a patent more."""
    found: dict[str, list[tuple[int, int]]] = {}
    for patents in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            for part in ("patents", "tiny"):
                (folder / part).mkdir()
            write_tiny_model(folder / "tiny")
            write_lines(folder / "patents", patents, "lines")
            command = [sys.executable, __file__, "--folder", name, "--memory", str(patents)]
            command += [] if vectors else ["--no_vectors"]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                for line in child.stdout or ():
                    print(line, end="", flush=True)
                    if line.startswith("{"):
                        row = json.loads(line)
                        found.setdefault(row["step"], []).append((patents, row["own_mib"]))
            if child.returncode:
                sys.exit(f"a run of {patents:,} patents ended with {child.returncode}")
    for step, ((few, less), *_, (many, more)) in ((step, rows) for step, rows in found.items() if len(rows) > 1):
        print(json.dumps({"step": step, "bytes_a_patent": round((more - less) * (1 << 20) / (many - few))}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=56_000, help="patents to ingest")
    parser.add_argument("--rows", type=int, default=300_000, help="patents to mine negatives for")
    parser.add_argument("--texts", type=int, default=4096, help="abstracts to embed")
    parser.add_argument("--model_name", default="bundled")
    parser.add_argument("--nodes", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--memory", type=int, nargs="+", metavar="PATENTS", help="the driver's memory instead")
    parser.add_argument("--no_vectors", dest="vectors", action="store_false", help="with --memory: no encoder's steps")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # given to the driver
    options = parser.parse_args()
    if options.memory:
        if options.folder is None:
            memory(options.memory, vectors=options.vectors)
        else:
            driver(options.folder, *options.memory, vectors=options.vectors)
        return
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
