"""Landscape to landscape: what a training on the citations of one field of technology is worth in the others.

    python benchmarks/landscapes.py --data citations-en.jsonl.gz --seeds 1 2 3
    python benchmarks/landscapes.py ... --limit 600 --set model.max_seq_length=64 --set training.epochs=1   # a try

Each landscape of the file is trained on alone, with the preset ``prior-art``: its families are ``train`` or, a fifth of
them by a hash of the seed, ``val``, by which epochs are chosen. All other families are ``test``: a citing patent of
another landscape asks for what it cites among all patents, its own family left out; ``out`` are the cited patents that
share no three-character class with it. One JSON line a seed, landscape and system, then the means over seeds of what a
training changes (``gain``: tuned less base, on the same queries).
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from prior_art import Benchmark, config_of, means  # this folder's

from patent_embed.arrays import numbered
from patent_embed.data.relevance import find_relevance
from patent_embed.data.schemas import SPLIT_TABLE
from patent_embed.data.splits import split_table
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.hub import resolve_model
from patent_embed.hashing import hash64
from patent_embed.training.choice import SHARE_WRITTEN
from patent_embed.training.pairs import Known
from patent_embed.training.published import Mixed

VAL = 0.2  # of the families of the landscape that is trained on


def landscapes_of(path: Path) -> dict[str, str]:
    """Publication number → landscape."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = map(json.loads, file)
        return {line["publication_number"]: line["landscape"] for line in lines}


def splits_for(table: pa.Table, landscape: list[str], name: str, seed: int) -> pa.Table:
    """``SPLIT_TABLE`` in which the families that are of ``name`` alone are trained on and validated by."""
    families = split_table(table, config_of("prior-art", seed, []).splits, seed)[0]["family"].to_pylist()
    elsewhere = {family for family, where in zip(families, landscape, strict=True) if where != name}

    def split(family: str) -> str:
        if family in elsewhere:
            return "test"
        return "val" if hash64(family, seed, "landscape") / 2**64 < VAL else "train"

    columns = [table["publication_number"].to_pylist(), families, list(map(split, families))]
    return pa.table(columns, schema=SPLIT_TABLE)


def measured(benchmark: Benchmark, splits: pa.Table, seed: int, row: str, more: list[str]) -> list[dict[str, Any]]:
    """BM25, base and tuned on the patents that ``splits`` tests on."""
    config = config_of(row, seed, more)
    family = numbered(splits["family"])[0].astype(np.int64)
    every = config.relevance.model_copy(update={"answers_per_patent": 1000, "citations": 1.0})
    found = find_relevance(benchmark.table, splits, every, seed)
    held_out = pc.and_(pc.equal(found.table["source"], "citations"), pc.not_equal(found.table["split"], "train"))
    judged = found.table.filter(held_out)
    trained = find_relevance(benchmark.table, splits, config.relevance, seed).table
    table = pa.concat_tables([trained.filter(trained["trains"]), judged])
    known = Known(benchmark.searched, splits, family, table, found.links)
    asked = benchmark.asked(known, "test")
    if not len(benchmark.asked(known, "val").row) or not len(asked.row):
        raise SystemExit(
            "no patent of val, or none of test, cites another one of the file: give more patents (--limit)"
        )
    base = Encoder.load(benchmark.model, config.model, device=benchmark.device)
    lines = [("bm25", benchmark.measured(benchmark.bm25(asked), asked, family), {})]
    for kind, scores in benchmark.scores(base, asked).items():
        lines.append((f"base {kind}", benchmark.measured(scores, asked, family), {}))
    encoder, about = benchmark.train(config, splits, known)
    mixed = Mixed(base, encoder)
    for share in (0.0, SHARE_WRITTEN):
        for kind, scores in benchmark.scores(mixed.at(share), asked).items():
            name = f"tuned {kind}" + (f", {share:g} base" if share else "")
            lines.append((name, benchmark.measured(scores, asked, family), about))
    return [{"system": name, "queries": len(asked.row)} | values | more for name, values, more in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="citations-en.jsonl.gz")
    parser.add_argument("--model_name", default="bundled")
    parser.add_argument("--row", default="prior-art", help="of benchmarks/prior_art.py: what is trained")
    parser.add_argument("--landscapes", nargs="+", help="those that are trained on; without it all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--limit", type=int, help="patents, for a try")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    view = config_of(arguments.row, 0, arguments.set).model
    benchmark = Benchmark(arguments.data, resolve_model(arguments.model_name), device, arguments.limit, view)
    where = landscapes_of(arguments.data)
    landscape = [where[number] for number in benchmark.table["publication_number"].to_pylist()]
    lines = []
    for seed in arguments.seeds:
        for name in arguments.landscapes or sorted(set(landscape)):
            splits = splits_for(benchmark.table, landscape, name, seed)
            for line in measured(benchmark, splits, seed, arguments.row, arguments.set):
                lines.append({"benchmark": "landscapes", "seed": seed, "trained_on": name} | line)
                print(json.dumps(lines[-1]), flush=True)
    for name in dict.fromkeys(line["trained_on"] for line in lines):
        for kind in ("query", "passage"):
            print(json.dumps(gain([line for line in lines if line["trained_on"] == name], kind)), flush=True)


def gain(lines: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Means over seeds of tuned less base, by the prompt ``kind`` of the queries."""
    base, tuned = (
        means([line for line in lines if line["system"] == f"{system} {kind}"], 9) for system in ("base", "tuned")
    )
    gains = {name: round(value - base[name], 4) for name, value in tuned.items()}
    return {"benchmark": "landscapes", "trained_on": lines[0]["trained_on"], "gain": kind} | gains


if __name__ == "__main__":
    main()
