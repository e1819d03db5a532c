"""Negative mining on generated corpora: seconds and peak memory, beside plain ways of doing the same.

    python benchmarks/negatives.py                                 # 5,753, 100 k and 1 M patents, every method
    python benchmarks/negatives.py --rows 10000000 --method ladder # ten million
    python benchmarks/negatives.py --rows 100000 --method polars

A corpus has 2.6 codes a patent, groups with Zipf-like sizes, and one main group with 30 % of all patents. Methods:
ladder  patent_embed.negatives.drawn in this process
ray     pipelines.steps.negatives on this machine, the start of Ray not counted
polars  the same ladder in polars: draw positions in each group, join, filter, keep the first (below)
loop    one anchor after the other, the Jaccard index of the characters against every patent of its group and subclass;
        timed on a few anchors and multiplied, which the row says
One JSON line a row, each from a process of its own. ``seconds`` is the mining alone; ``peak_gib`` is the process's
largest resident size, with the corpus in it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.config.negatives import NegativesConfig
from patent_embed.folders import folder_at
from patent_embed.negatives.drawn import mine_negatives

CONFIG = NegativesConfig()
SEED = 42
_ROWS_PER_PART = 200_000  # as ingest writes them


def generate(rows: int, seed: int = 0) -> tuple[pa.Table, pa.Table]:
    """``publication_number, codes`` and ``publication_number, family, split`` of ``rows`` made-up patents."""
    rng = np.random.default_rng(seed)
    letters = "BCDFGHKLMNPQRSTV"
    subclasses = [
        f"{section}{number:02d}{letter}" for section in "ABCDEFGH" for number in (1, 5, 9) for letter in letters
    ]
    groups = [f"{subclass}{number}" for subclass in subclasses for number in range(1, 41, 2)]
    leaves = 30
    codes = pa.array([f"{group}/{leaf:02d}" for group in groups for leaf in range(leaves)])
    group_chance = np.cumsum(rng.permutation(1 / (np.arange(len(groups)) + 10.0)))
    leaf_chance = np.cumsum(1 / (np.arange(leaves) + 1.0))

    def draw(chance: np.ndarray, n: int) -> np.ndarray:
        return np.searchsorted(chance, rng.random(n) * chance[-1])

    main = draw(group_chance, rows)
    main[rng.random(rows) < 0.3] = 0  # the one large group
    count = 1 + rng.poisson(1.6, rows)
    start = np.concatenate([[0], np.cumsum(count)])
    group = np.repeat(main, count)
    # Further codes stay in the first one's group half of the time.
    moved = rng.random(len(group)) < 0.5
    moved[start[:-1]] = False
    group[moved] = draw(group_chance, int(moved.sum()))
    flat = (group * leaves + draw(leaf_chance, len(group))).astype(np.int32)
    lists = pa.ListArray.from_arrays(pa.array(start.astype(np.int32)), codes.take(pa.array(flat)))
    numbers = pa.array(np.sort(rng.choice(10 * rows, rows, replace=False)) + 100_000_000)
    ids = pc.binary_join_element_wise("CN", numbers.cast(pa.string()), "A", "")
    head = np.arange(rows)
    twin = np.flatnonzero(rng.random(rows) < 0.05)[1:]  # one in twenty is of the family of the patent before it
    head[twin] = head[twin - 1]
    split = np.searchsorted([0.7, 0.85], rng.random(rows))[head]
    return (
        pa.table({"publication_number": ids, "codes": lists}),
        pa.table(
            {
                "publication_number": ids,
                "family": ids.take(pa.array(head)),
                "split": pa.array(["train", "val", "test"]).take(pa.array(split)),
            }
        ),
    )


def polars_ladder(corpus: pa.Table, splits: pa.Table) -> int:
    """The ladder as a data-frame program: how many negatives it finds. Draws twice as many as needed on each rung and
    keeps what passes, so that anchors in small groups may end with fewer than there are."""
    import polars as pl

    k = CONFIG.per_positive
    quota = {"group": 2, "subclass": 1, "all": 0}
    frame = pl.from_arrow(corpus).join(pl.from_arrow(splits), on="publication_number")
    frame = frame.with_row_index("row").with_columns(pl.col("family").rank("dense").alias("family"))
    codes = frame.select("row", "split", "family", pl.col("codes").alias("code")).explode("code")
    codes = codes.with_columns(
        group=pl.col("code").str.split("/").list.first(), subclass=pl.col("code").str.slice(0, 4), all=pl.lit("all")
    )
    for name in ("code", "group", "subclass", "all"):
        codes = codes.with_columns(pl.col(name).rank("dense").cast(pl.UInt32).alias(name))
    keys = codes.group_by("row").agg(pl.col("code", "group", "subclass").unique(), pl.col("family").first())
    found = []
    for level, (rung, below) in enumerate((("group", "code"), ("subclass", "group"), ("all", "subclass"))):
        members = codes.select("row", "split", rung).unique().sample(fraction=1.0, shuffle=True, seed=SEED)
        members = members.with_columns(
            position=pl.int_range(pl.len()).over("split", rung), size=pl.len().over("split", rung)
        )
        draws = pl.concat([members.with_columns(draw=pl.lit(i)) for i in range(2 * k)])
        steps = pl.Series(np.random.default_rng(SEED).integers(0, 2**31, len(draws)))
        draws = draws.with_columns(position=(steps % pl.col("size")).cast(pl.Int64))
        pairs = draws.join(
            members.select("split", rung, "position", pl.col("row").alias("negative")), on=["split", rung, "position"]
        )
        pairs = pairs.select("row", "negative").unique()
        pairs = pairs.join(keys.select("row", below, "family"), on="row").join(
            keys.select(pl.col("row").alias("negative"), pl.col(below).alias("other"), pl.col("family").alias("kin")),
            on="negative",
        )
        pairs = pairs.filter(
            (pl.col("family") != pl.col("kin")) & (pl.col(below).list.set_intersection(pl.col("other")).list.len() == 0)
        )
        pairs = pairs.select("row", "negative", level=pl.lit(level))
        found.append(pairs.with_columns(place=pl.int_range(pl.len()).over("row")))
    chosen = pl.concat(found).with_columns(
        late=pl.col("place") >= pl.col("level").replace_strict([0, 1, 2], list(quota.values()), return_dtype=pl.Int64)
    )
    return len(chosen.sort("row", "late", "level", "place").group_by("row", maintain_order=True).head(k))


def ray_ladder(corpus: pa.Table, splits: pa.Table) -> tuple[float, int, dict[str, Any]]:
    """Seconds without the start of Ray, negatives, and the private memory of the largest task's process."""
    import threading

    import psutil
    import ray

    from pipelines.session import ray_session
    from pipelines.steps.negatives import mine_negatives_ray

    with tempfile.TemporaryDirectory() as folder, ray_session("ERROR"):
        tables = [ray.put(corpus.slice(first, _ROWS_PER_PART)) for first in range(0, len(corpus), _ROWS_PER_PART)]
        largest, done = 0, threading.Event()

        def watch() -> None:
            nonlocal largest
            while not done.wait(0.2):
                for process in psutil.Process().children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        if process.name().startswith("ray::"):
                            memory = process.memory_info()
                            largest = max(largest, memory.rss - memory.shared)

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        report = mine_negatives_ray(tables, splits, CONFIG, SEED, folder_at(folder))
        seconds = time.perf_counter() - started
        done.set()
        watcher.join()
    return seconds, report["negatives"], {"largest_task_gib": round(largest / 2**30, 2)}


def jaccard_loop(corpus: pa.Table, splits: pa.Table, anchors: int = 8) -> tuple[float, int]:
    """Seconds for ``anchors`` anchors, and how many negatives they got. A thousand texts serve all patents in turn."""
    rng = np.random.default_rng(SEED)
    chance = 1 / (np.arange(3000) + 5.0)
    texts = ["".join(map(chr, 0x4E00 + rng.choice(3000, 250, p=chance / chance.sum()))) for _ in range(1000)]
    codes = [set(c) for c in corpus["codes"].to_pylist()]
    by_group: dict[str, list[int]] = {}
    by_subclass: dict[str, list[int]] = {}
    for row, own in enumerate(codes):
        for group in {c.partition("/")[0] for c in own}:
            by_group.setdefault(group, []).append(row)
        for subclass in {c[:4] for c in own}:
            by_subclass.setdefault(subclass, []).append(row)
    started, found = time.perf_counter(), 0
    for anchor in rng.choice(len(codes), anchors, replace=False).tolist():
        own = set(texts[anchor % 1000])
        near = {r for c in codes[anchor] for r in by_group[c.partition("/")[0]]}
        scored = []
        for row in near | {r for c in codes[anchor] for r in by_subclass[c[:4]]}:
            other = set(texts[row % 1000])
            if row != anchor and not codes[row] & codes[anchor]:
                scored.append((len(own & other) / len(own | other) + (row in near), row))
        found += len(sorted(scored, reverse=True)[: CONFIG.per_positive])
    return time.perf_counter() - started, found


def measure(method: str, rows: int) -> dict[str, Any]:
    corpus, splits = generate(rows)
    note = {}
    started = time.perf_counter()
    if method == "ladder":
        negatives = len(mine_negatives(corpus, splits, CONFIG, SEED).table)
        seconds = time.perf_counter() - started
    elif method == "polars":
        negatives = polars_ladder(corpus, splits)
        seconds = time.perf_counter() - started
    elif method == "ray":
        seconds, negatives, note = ray_ladder(corpus, splits)
    elif method == "loop":
        anchors = 8
        seconds, negatives = jaccard_loop(corpus, splits, anchors)
        note = {"extrapolated_from_anchors": anchors, "measured_seconds": round(seconds, 3)}
        seconds *= rows / anchors
        negatives *= rows // anchors
    else:
        raise SystemExit(f"no method {method!r}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return {
        "benchmark": "negatives",
        "method": method,
        "rows": rows,
        "seconds": round(seconds, 3),
        "microseconds_a_patent": round(1e6 * seconds / rows, 2),
        "peak_gib": round(peak, 2),
        "negatives": negatives,
        **note,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="*", default=[5_753, 100_000, 1_000_000])
    parser.add_argument("--method", nargs="*", default=["ladder", "ray", "polars", "loop"])
    options = parser.parse_args()
    jobs = [(method, rows) for rows in options.rows for method in options.method]
    if len(jobs) == 1:
        print(json.dumps(measure(*jobs[0])), flush=True)
        return
    for method, rows in jobs:
        subprocess.run([sys.executable, __file__, "--rows", str(rows), "--method", method], check=False)


if __name__ == "__main__":
    main()
