"""Ingest of many generated patents by this machine's own Ray: records a second, and the driver's peak of memory.

    python benchmarks/ingest.py --records 1000000                       # JSON lines, 10,000 a file
    python benchmarks/ingest.py --records 1000000 --layout array        # the same as one array a file
    python benchmarks/ingest.py --beside ../another-checkout --rounds 3 # both in turns, each in a process of its own

One JSON line a run: checkout, layout, records, seconds, records a second, MiB. The start of Ray does not count; that of
its workers does, as in a run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
PER_FILE = 10_000
DIFFERENT = 20_000  # abstracts; further patents repeat them with their own number in the text, so that none is a copy


def write(folder: Path, count: int, layout: str) -> None:
    """``count`` patents as files of ``PER_FILE``."""
    from patent_embed.data import sample

    texts = list(sample.generate(min(count, DIFFERENT), seed=7))
    patents = (
        texts[n % len(texts)]
        | {"publication_number": f"CN{100_000_000 + n}A", "abstract": f"{texts[n % len(texts)]['abstract']}编号{n}。"}
        for n in range(count)
    )
    for number in range(-(-count // PER_FILE)):
        lines = [json.dumps(patent, ensure_ascii=False) for patent in itertools.islice(patents, PER_FILE)]
        content = "\n".join(lines) if layout == "lines" else "[" + ",\n".join(lines) + "]"
        suffix = "jsonl" if layout == "lines" else "json"
        (folder / f"{number:05d}.{suffix}").write_text(content, encoding="utf-8")


def read(folder: Path) -> None:
    """Child process: ingest ``folder`` by the checkout that PYTHONPATH names, and print the figures."""
    from patent_embed.config.settings import Config
    from patent_embed.data.inputs import find_input
    from pipelines.session import ray_session
    from pipelines.steps.ingest import ingest

    with ray_session("INFO"), tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        rows = ingest(Path(out), find_input(str(folder)), Config().data, 42).rows
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"rows": rows, "seconds": round(seconds, 1), "driver_mib": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--layout", choices=["lines", "array"], default="lines")
    parser.add_argument("--beside", type=Path, help="another checkout, measured in turns with this one")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # given to the child
    options = parser.parse_args()
    if options.folder:
        read(options.folder)
        return
    checkouts = [HERE, *([options.beside.resolve()] if options.beside else [])]
    with tempfile.TemporaryDirectory() as name:
        sys.path.insert(0, str(HERE))
        write(Path(name), options.records, options.layout)
        for _, checkout in itertools.product(range(options.rounds), checkouts):
            command = [sys.executable, __file__, "--folder", name]
            environment = os.environ | {"PYTHONPATH": str(checkout)}
            done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, cwd=checkout)
            row = json.loads(done.stdout.splitlines()[-1])
            rate = round(options.records / row["seconds"])
            print(json.dumps({"checkout": checkout.name, "layout": options.layout, **row, "records_per_s": rate}))


if __name__ == "__main__":
    main()
