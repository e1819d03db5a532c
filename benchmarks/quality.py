"""nDCG@10 of several recipes on one split of real patents, by kind of query: the rows of docs/quality.md.

    python benchmarks/quality.py --data_dir patents-zh-5753.jsonl.gz --query_cache llm_queries_cache.json \
        --work build/quality --rows recommended best both
    python benchmarks/quality.py ... --rows best -- --num_epochs 5          # what follows -- is added to every row

Queries of the cache are mostly questions. ``query_kinds.json`` has 120 of other kinds (keywords, a layman's scenario,
claim-like), and 400 of these kinds and questions (``far``) that avoid the words of the abstract. They were written for
this benchmark from patents that the cache has no query for and that the split below tests, so no row trains on them.
Choose a row by ``val`` or by them, not by the cache's test queries, which are for reporting.
Rows share one output folder, so what they have in common is made once. One JSON line a row and system.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parent.parent
KINDS = Path(__file__).with_name("query_kinds.json")
SPLITS = {"train": 0.5, "val": 0.1, "test": 0.4}
_UNSCORED = ["--set", "negatives.scoring.enabled=false"]
_INFONCE = ["--loss", "infonce", "--set", "training.temperature=0.02", "--batch_size", "128"]
ROWS = {
    "recommended": ["--recommended", *_UNSCORED],
    "lr 2e-4": ["--recommended", *_UNSCORED, "--learning_rate", "2e-4"],
    "infonce": ["--recommended", *_UNSCORED, *_INFONCE, "--learning_rate", "5e-4"],
    "full": ["--recommended", *_UNSCORED, *_INFONCE, "--no_use_lora", "--learning_rate", "3e-5"],
    "rounds": ["--recommended", "--set", "negatives.rounds=2", "--set", "negatives.scoring.enabled=true"],
    "best": ["--preset", "best"],
    "both": ["--preset", "best", "--set", "training.query_sources=[cache,rules]"],
}


def merged_cache(cache: Path, out: Path) -> dict[str, str]:
    """Write the queries of ``cache`` and of ``query_kinds.json`` to ``out``; the kind of each of the latter."""
    content = json.loads(cache.read_text(encoding="utf-8"))
    queries = content["queries_by_id"]
    kinds = json.loads(KINDS.read_text(encoding="utf-8"))
    if both := kinds.keys() & queries.keys():
        raise SystemExit(f"{cache} has queries for {len(both)} patents of {KINDS.name}: rows would train on them")
    for number, entry in kinds.items():
        queries[number] = {"query": entry["query"], "patent_id": number}
    out.write_text(json.dumps(content | {"patent_ids": list(queries)}, ensure_ascii=False), encoding="utf-8")
    return {number: entry["kind"] for number, entry in kinds.items()}


def measured(out: Path, system: str, kinds: dict[str, str]) -> dict[str, Any]:
    """Means of a system over val, the cache's test queries and each other kind, and the number of queries of each."""
    summary = json.loads((out / "run_summary.json").read_text(encoding="utf-8"))
    folder = summary["steps"][f"evaluate-{system}"]["folder"]
    table = pq.read_table(out / "steps" / folder / "per_query.parquet")
    table = table.filter(table["headline"])
    split = table["split"].to_pylist()
    names = [
        kinds.get(number, "test" if part == "test" else part)
        for number, part in zip(table["publication_number"].to_pylist(), split, strict=True)
    ]
    if strays := {part for name, part in zip(names, split, strict=True) if name in set(kinds.values())} - {"test"}:
        raise SystemExit(f"queries of {KINDS.name} are in {sorted(strays)}: this is not the data they were written for")
    ndcg, groups = table["ndcg@10"].to_numpy(), np.array(names)
    parts = {name: groups == name for name in sorted(set(names))}
    parts["far"] = np.char.startswith(groups, "far ")
    return {
        name: {"ndcg@10": round(float(ndcg[part].mean()), 4), "queries": int(part.sum())}
        for name, part in parts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--query_cache", type=Path, required=True, help="an llm_queries_cache.json")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model_name", default="bundled")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=["recommended", "best", "both"])
    arguments, more = parser.parse_known_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    kinds = merged_cache(arguments.query_cache, arguments.work / "cache.json")
    out = arguments.work / "output"
    shown: set[str] = set()
    for row in arguments.rows:
        splits = [part for name, share in SPLITS.items() for part in ("--set", f"splits.{name}={share}")]
        command = [sys.executable, str(ROOT / "pipelines" / "run.py"), "--data_dir", arguments.data_dir]
        command += ["--output_dir", str(out), "--model_name", arguments.model_name, "--query_backend", "rules"]
        command += ["--set", f"queries.cache={arguments.work / 'cache.json'}", *splits, *ROWS[row]]
        subprocess.run([*command, *(part for part in more if part != "--")], check=True, stdout=sys.stderr)
        for system in ("bm25", "base", "tuned"):
            if system == "tuned" or system not in shown:
                shown.add(system)
                name = row if system == "tuned" else system
                print(json.dumps({"benchmark": "quality", "row": name} | measured(out, system, kinds)), flush=True)


if __name__ == "__main__":
    main()
