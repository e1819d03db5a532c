"""What a newcomer meets: seconds, peak memory and verdicts of the demo, of --quick_test and of --recommended.

    python benchmarks/first_run.py                            # the demo, as `make demo` runs it
    python benchmarks/first_run.py quick_test recommended     # recommended: one epoch of 150 patents, for its memory

Each is a command in a process of its own on generated patents, with the bundled encoder, on this machine's CPU. One
JSON line a run. The memory of a process is its resident set, read every fifth of a second, so that a shorter peak is
missed; what processes share, Ray's object store above all, counts for each of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import product
from pathlib import Path

import psutil

from patent_embed.config.commands import SampleArguments
from patent_embed.data.sample import write_sample

ROOT = Path(__file__).resolve().parent.parent
RUNS = {
    "demo": ["--config", "configs/demo.yaml"],
    "quick_test": ["--quick_test"],
    "recommended": [
        *("--recommended", "--model_name", "bundled", "--query_backend", "rules"),
        *("--max_samples", "150", "--num_epochs", "1"),
    ],
}
_PAUSE = 0.2


def sample_peaks(process: psutil.Process, peaks: dict[str, int]) -> None:
    """Raise ``peaks`` (what a process is → bytes) to what ``process`` and those below it hold now."""
    for each in [process, *process.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it has ended
            # Ray names its workers "ray::..."; an idle one has not been given its class yet.
            title = (each.cmdline() or [each.name()])[0]
            name = "driver" if each.pid == process.pid else title if title.startswith("ray::") else "ray itself"
            peaks[name] = max(peaks[name], each.memory_info().rss)


def measure(name: str, more: list[str], patents: Path, output: Path) -> dict[str, object]:
    """Run ``name`` with ``more`` options and say what it cost and found."""
    command = [sys.executable, "pipelines/run.py", *RUNS[name], *more, "--data_dir", patents, "--output_dir", output]
    begun, peaks = time.perf_counter(), defaultdict[str, int](int)
    with (output.parent / f"{name}.log").open("w") as log:
        running = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(running.pid)
            while running.poll() is None:
                sample_peaks(process, peaks)
                time.sleep(_PAUSE)
    seconds = time.perf_counter() - begun
    if running.returncode not in (0, 3):  # 3: the base model is published
        raise SystemExit(Path(log.name).read_text())
    summary = json.loads((output / "run_summary.json").read_text())
    worker = max((each for each in peaks if each != "driver"), key=lambda each: peaks[each])
    tuned = [v for v in summary["verdicts"] if (v["system"], v["baseline"]) == ("tuned", "base")]
    return {
        "run": name,
        "exit_code": running.returncode,
        "seconds": round(seconds, 1),
        "driver_gib": round(peaks["driver"] / 2**30, 2),
        "largest_worker_gib": round(peaks[worker] / 2**30, 2),
        "largest_worker": worker,
        "steps": {step: round(made["seconds"], 1) for step, made in summary["steps"].items()},
        "verdicts": {
            v["split"]: {
                "queries": v["queries"],
                "base": round(v["baseline_mean"], 4),
                "tuned": round(v["system_mean"], 4),
                "p": round(v["p_value"], 4),
                "verdict": v["verdict"],
            }
            for v in tuned
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help=f"of {', '.join(RUNS)} (default: demo)")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the generated patents, one run each")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of every run")
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {psutil.cpu_count()} cores, Python {platform.python_version()}")
    more = [part for setting in arguments.set for part in ("--set", setting)]
    for name, seed, _ in product(arguments.runs or ["demo"], arguments.seeds, range(arguments.repeat)):
        with tempfile.TemporaryDirectory() as folder:
            patents, output = Path(folder) / "patents", Path(folder) / "output"
            write_sample(patents, SampleArguments.model_fields["count"].default, seed=seed, queries=True)
            result = {"sample_seed": seed, "load": round(os.getloadavg()[0], 1)}  # of what else ran before
            print(json.dumps(result | measure(name, more, patents, output)), flush=True)


if __name__ == "__main__":
    main()
