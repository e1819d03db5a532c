"""Kills at random moments of a whole run, each continued by the same command: what comes out must be the same bytes.

A small run is done once without a fault. Then, for each number, it begins in a new folder, its driver is killed by
SIGKILL at a moment that the number draws, and the same command is given again, every second time with ``--resume``.
Files of all steps, the published model and adapter, and the figures are compared with those of the first run.

    python benchmarks/kills.py --kills 50             # the kills
    python benchmarks/kills.py --only stop disk files # a stopped worker, a full disk, 50,000 small files
    python benchmarks/kills.py --kills 10 --first 20  # numbers 20 to 29

A row for each, as JSON; the program ends with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from patent_embed.artifacts import open_artifact
from patent_embed.data.sample import generate, write_sample
from patent_embed.hashing import folder_digest
from tests.tiny_model import write_tiny_model

PROGRAM = Path(__file__).resolve().parent.parent / "pipelines" / "run.py"
PATENTS, EPOCHS = 120, 3
SETTINGS = (
    *("--query_backend", "rules", "--num_epochs", str(EPOCHS), "--batch_size", "16", "--learning_rate", "1e-3"),
    *("--set", "negatives.scoring.max_ratio=null"),  # random weights find all texts alike: it would refuse all
)
LIMIT_S = 900.0  # of one command


@dataclass(frozen=True)
class Whole:
    """The run without a fault: how long it took, and what it made."""

    seconds: float
    made: dict[str, Any]


class Runs:
    """The command in folders below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tiny").mkdir()
        self.model = write_tiny_model(folder / "tiny")
        write_sample(folder / "data", PATENTS, seed=7)

    def start(self, out: Path, *more: str, data: Path | None = None) -> subprocess.Popen[str]:
        """Begin a run; its output goes to a file beside the folder ``out``."""
        command = [sys.executable, str(PROGRAM), *SETTINGS, *more]
        command += ["--data_dir", str(data or self.folder / "data"), "--output_dir", str(out)]
        command += ["--model_name", str(self.model)]
        with self.log(out).open("a", encoding="utf-8") as log:
            return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def log(self, out: Path) -> Path:
        """What the runs in ``out`` have said."""
        return self.folder / f"{out.name}.log"

    def finish(self, out: Path, *more: str, check: int = 0, data: Path | None = None) -> float:
        """Run to the end; the seconds that it took."""
        started, process = time.monotonic(), self.start(out, *more, data=data)
        code = process.wait(LIMIT_S)
        if code != check:
            raise SystemExit(f"the run ended with {code}:\n{self.log(out).read_text(encoding='utf-8')}")
        return time.monotonic() - started


def made_in(out: Path) -> dict[str, Any]:
    """What a run has made: SHA-256 of every file of every step, of what it published, and its figures."""
    steps = {path.name: open_artifact(path) for path in sorted((out / "steps").iterdir())}
    for artifact in steps.values():
        artifact.file("")  # contents, not only what the manifests say of them
    found: dict[str, Any] = {
        f"{name}/{file}": d for name, step in steps.items() for file, d in step.manifest.sha256.items()
    }
    found |= {name: folder_digest(out / name) for name in ("model", "adapter")}
    return found | {"systems": json.loads((out / "metrics.json").read_text(encoding="utf-8"))["systems"]}


def differences(whole: Whole, out: Path) -> list[str]:
    """Names of what is not as it was without a fault."""
    found = made_in(out)
    return sorted(name for name in {*found, *whole.made} if found.get(name) != whole.made.get(name))


def kill(runs: Runs, whole: Whole, number: int) -> dict[str, Any]:
    """One kill, and the same command again."""
    draw = random.Random(number)
    out, moment = runs.folder / f"kill-{number}", draw.uniform(0, whole.seconds)
    more = ("--resume",) if number % 2 else ()
    process = runs.start(out, *more)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    ended = process.poll() is not None
    process.kill()
    process.wait()
    said = runs.log(out).read_text(encoding="utf-8").strip().splitlines() or [""]
    seconds = runs.finish(out, *more)
    row = {"kill": number, "at_s": round(moment, 1), "said": said[-1][:60], "resume": bool(more)}
    row |= {"ended_before": ended, "again_s": round(seconds, 1), "differ": differences(whole, out)}
    return cleared(out, row)


def stop(runs: Runs, whole: Whole) -> dict[str, Any]:
    """The training's worker is stopped for half a minute, and goes on."""
    out = runs.folder / "stop"
    process = runs.start(out)
    pid = wait_for(lambda: next((e["pid"] for e in events(out) if e["event"] == "start"), None))
    os.kill(pid, signal.SIGSTOP)
    time.sleep(30)
    os.kill(pid, signal.SIGCONT)
    code = process.wait(LIMIT_S)
    return cleared(out, {"fault": "worker stopped for 30 s", "code": code, "differ": differences(whole, out)})


def disk(runs: Runs, whole: Whole) -> dict[str, Any]:
    """A disk of 64 MiB is filled after the first epoch of the training; freed, the run goes on."""
    out = runs.folder / "disk"
    out.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", out], check=True)
    try:
        process = runs.start(out)
        wait_for(lambda: any(event["event"] == "epoch" and event["epoch"] == 1 for event in events(out)))
        with contextlib.suppress(OSError), (out / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(bytes(1 << 16)):
                pass  # until nothing is left
        code = process.wait(LIMIT_S)
        (out / "ballast").unlink()
        seconds = runs.finish(out, "--resume")
        row = {"fault": "disk full in the training", "code": code, "again_s": round(seconds, 1)}
        return row | {"differ": differences(whole, out)}
    finally:
        subprocess.run(["umount", "-l", out], check=True)


def files(runs: Runs, whole: Whole, count: int = 50_000) -> dict[str, Any]:
    """So many files of one patent each, 100 of which are used: every one is read and counted."""
    data, out = runs.folder / "many", runs.folder / "files"
    for number, record in enumerate(generate(count, seed=3)):
        folder = data / f"{number // 1000:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.json").write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
    seconds = runs.finish(out, "--max_samples", "100", data=data)
    ingest = open_artifact(next((out / "steps").glob("ingest-*"))).manifest
    rows = {"fault": f"{count:,} files", "run_s": round(seconds, 1), "ingest_s": ingest.seconds, "rows": ingest.rows}
    lost = count - ingest.rows["records"]
    return cleared(
        runs, out, rows | {"rejects": ingest.rejects, "differ": [f"{lost} records are lost"] if lost else []}
    )


def events(out: Path) -> Iterator[dict[str, Any]]:
    """The events of a run so far."""
    with contextlib.suppress(FileNotFoundError):
        for line in (out / "progress.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # half a line
                yield json.loads(line)


def wait_for(found: Callable[[], Any]) -> Any:
    """What ``found`` gives once it gives something."""
    ends = time.monotonic() + LIMIT_S
    while time.monotonic() < ends:
        if value := found():
            return value
        time.sleep(0.05)
    raise SystemExit("what was waited for did not come")


def cleared(out: Path, row: dict[str, Any]) -> dict[str, Any]:
    """The row; the folder goes where nothing differs."""
    if not row["differ"]:
        shutil.rmtree(out)
    return row


FAULTS: dict[str, Callable[[Runs, Whole], dict[str, Any]]] = {"stop": stop, "disk": disk, "files": files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), default=[])
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    runs = Runs(folder)
    seconds = runs.finish(folder / "whole")
    whole = Whole(seconds, made_in(folder / "whole"))
    print(json.dumps({"whole_s": round(seconds, 1), "compared": len(whole.made)}), flush=True)
    wrong = 0
    numbers = range(options.first, options.first + options.kills)
    jobs = [lambda number=number: kill(runs, whole, number) for number in numbers]
    for job in [*jobs, *(lambda name=name: FAULTS[name](runs, whole) for name in options.only)]:
        row = job()
        wrong += bool(row["differ"])
        print(json.dumps(row, ensure_ascii=False), flush=True)
    if wrong:
        raise SystemExit(f"{wrong} rows differ; their folders are below {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
