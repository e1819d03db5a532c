"""Kills at random moments of a whole run, each continued by the same command: what comes out must be the same bytes.

A small run is done once without a fault. Then it begins in a new folder; its driver is killed by SIGKILL at a moment
that the number of the kill draws from all that is left of the run; the same command is given again at once, while what
the dead driver had started may still be at it, and is killed in its turn, and so on until a command comes to its end.
After each kill, every step that has a manifest must be whole and hold the bytes of the first run; at the end all files
of all steps, the published model and adapter, and the figures must. So a kill costs its start and what it lost, not a
run of its own, and what was killed before is what the next kill hits. Every second run goes on with ``--resume``.

    python benchmarks/kills.py --kills 50                                 # the kills
    python benchmarks/kills.py --kills 5 --first 20 --keep DIR            # from number 20; the first run stays in DIR
    python benchmarks/kills.py --only stop disk raylet files              # other faults, see FAULTS

A row for each, as JSON; the program ends with 1 where anything differs.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
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

from patent_embed.artifacts import MANIFEST, open_artifact
from patent_embed.data.sample import generate, write_sample
from patent_embed.errors import UserError
from patent_embed.hashing import folder_digest
from tests.tiny_model import write_tiny_model

PROGRAM = Path(__file__).resolve().parent.parent / "pipelines" / "run.py"
PATENTS, EPOCHS = 120, 3
SETTINGS = (
    *("--query_backend", "rules", "--num_epochs", str(EPOCHS), "--batch_size", "16", "--learning_rate", "1e-3"),
    *("--set", "negatives.scoring.max_ratio=null"),  # random weights find all texts alike: it would refuse all
)
LIMIT_S = 900.0  # of one command
MOST_OF_ONE = 8  # kills of one run


@dataclass(frozen=True)
class Whole:
    """The run without a fault: how long it took, and what it made."""

    seconds: float
    made: dict[str, Any]


class Runs:
    """The command in folders below ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, folder / "tiny" / "model"
        if not self.model.exists():
            (folder / "tiny").mkdir(parents=True)
            write_tiny_model(folder / "tiny")
            write_sample(folder / "data", PATENTS, seed=7)

    def whole(self) -> Whole:
        """The run without a fault, made once in the folder."""
        out, known = self.folder / "whole", self.folder / "whole.json"
        if not known.exists():
            known.write_text(json.dumps({"seconds": self.finish(out)}), encoding="utf-8")
        return Whole(json.loads(known.read_text(encoding="utf-8"))["seconds"], made_by(out))

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

    def finish(self, out: Path, *more: str, data: Path | None = None) -> float:
        """Run to the end; the seconds that it took."""
        started, process = time.monotonic(), self.start(out, *more, data=data)
        self.require(out, process.wait(LIMIT_S))
        return time.monotonic() - started

    def require(self, out: Path, code: int) -> None:
        """End the program where a run ended with another exit code than 0."""
        if code:
            raise SystemExit(f"the run ended with {code}:\n{self.log(out).read_text(encoding='utf-8')}")


def made_in(out: Path) -> dict[str, Any]:
    """What a run has made so far: SHA-256 of every file of every finished step."""
    found = dict[str, Any]()
    for place in sorted(path.parent for path in out.glob(f"steps/*/{MANIFEST}")):
        try:
            artifact = open_artifact(place)
            artifact.file("")  # contents, not only what the manifest says of them
            found |= {f"{place.name}/{file}": digest for file, digest in artifact.manifest.sha256.items()}
        except UserError as damage:
            found[f"{place.name}: {damage}"] = None
    return found


def seconds_in(out: Path) -> float:
    """What a run's finished steps took."""
    return sum(json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in out.glob(f"steps/*/{MANIFEST}"))


def made_by(out: Path) -> dict[str, Any]:
    """What a run that has ended made: its steps, what it published, and its figures."""
    found = made_in(out) | {name: folder_digest(out / name) for name in ("model", "adapter")}
    return found | {"systems": json.loads((out / "metrics.json").read_text(encoding="utf-8"))["systems"]}


def differences(whole: Whole, out: Path) -> list[str]:
    """Names of what is not as it was without a fault."""
    found = made_by(out)
    return sorted(name for name in {*found, *whole.made} if found.get(name) != whole.made.get(name))


def kills(runs: Runs, whole: Whole, first: int, count: int, more: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The kills from number ``first`` on of one run, at most ``count``; a row each, and one when it has ended.

    ``more``: the command's further arguments.
    """
    out = runs.folder / f"kills-{first}"
    done_s = 0.0  # that the steps took which are finished
    for number in range(first, first + count):
        moment = random.Random(number).uniform(0, whole.seconds - done_s)
        before = len(runs.log(out).read_text(encoding="utf-8")) if runs.log(out).exists() else 0
        process = runs.start(out, *more)
        with contextlib.suppress(subprocess.TimeoutExpired):
            runs.require(out, process.wait(moment))
            break
        process.kill()
        process.wait()
        said = runs.log(out).read_text(encoding="utf-8")[before:].strip().splitlines() or ["nothing yet"]
        made, done_s = made_in(out), seconds_in(out)
        wrong = sorted(name for name in made if made[name] != whole.made.get(name, ""))
        row = {"kill": number, "at_s": round(moment, 1), "said": said[-1][:60], "resume": bool(more)}
        yield row | {"finished": len({name.partition("/")[0] for name in made}), "differ": wrong}
    else:
        runs.finish(out, *more)
    yield cleared(out, {"run": first, "ended": True, "differ": differences(whole, out)})


def all_kills(runs: Runs, whole: Whole, first: int, count: int) -> Iterator[dict[str, Any]]:
    """The rows of ``count`` kills from number ``first`` on, of as many runs as it takes."""
    number, ways = first, itertools.cycle([(), ("--resume",)])
    while number < first + count:
        begun = number
        for row in kills(runs, whole, number, min(MOST_OF_ONE, first + count - number), next(ways)):
            number = row.get("kill", number - 1) + 1
            yield row
        number = max(number, begun + 1)  # a run that ended before its first kill: the next number draws another moment


def stop(runs: Runs, whole: Whole) -> dict[str, Any]:
    """The training's worker is stopped for half a minute, and goes on."""
    out = runs.folder / "stop"
    process = runs.start(out)
    worker = training_begun(out)["pid"]
    os.kill(worker, signal.SIGSTOP)
    time.sleep(30)
    os.kill(worker, signal.SIGCONT)
    code = process.wait(LIMIT_S)
    return cleared(out, {"fault": "worker stopped for 30 s", "code": code, "differ": differences(whole, out)})


def raylet(runs: Runs, whole: Whole) -> dict[str, Any]:
    """The raylet of the run's own Ray is killed in the training: its node is gone, and there is no other."""
    out = runs.folder / "raylet"
    process = runs.start(out)
    training_begun(out)
    os.kill(child_of(process.pid, "raylet"), signal.SIGKILL)
    began = time.monotonic()
    code = process.wait(LIMIT_S)
    row = {"fault": "raylet killed in the training", "code": code, "ended_after_s": round(time.monotonic() - began, 1)}
    row |= {"again_s": round(runs.finish(out, "--resume"), 1), "differ": differences(whole, out)}
    return cleared(out, row)


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
    return cleared(out, rows | {"rejects": ingest.rejects, "differ": [f"{lost} records are lost"] if lost else []})


def events(out: Path) -> Iterator[dict[str, Any]]:
    """The events of a run so far."""
    with contextlib.suppress(FileNotFoundError):
        for line in (out / "progress.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # half a line
                yield json.loads(line)


def training_begun(out: Path) -> dict[str, Any]:
    """The event of the training's start, once it is there."""
    begun: dict[str, Any] = wait_for(lambda: next((e for e in events(out) if e["event"] == "start"), None))
    return begun


def child_of(pid: int, name: str) -> int:
    """The process ``name`` that the process ``pid`` started."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = dict(line.split(":\t", 1) for line in status.read_text().splitlines() if ":\t" in line)
            if (fields["Name"], int(fields["PPid"])) == (name, pid):
                return int(status.parent.name)
    raise SystemExit(f"process {pid} has no {name}")


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


FAULTS: dict[str, Callable[[Runs, Whole], dict[str, Any]]] = {
    "stop": stop,
    "disk": disk,
    "raylet": raylet,
    "files": files,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), default=[])
    parser.add_argument("--keep", type=Path, help="folder in which the run without a fault stays for the next time")
    options = parser.parse_args()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="kills-"))
    runs = Runs(folder)
    whole, wrong = runs.whole(), 0
    print(json.dumps({"whole_s": round(whole.seconds, 1), "compared": len(whole.made)}), flush=True)
    faults = (FAULTS[name](runs, whole) for name in options.only)
    for row in itertools.chain(all_kills(runs, whole, options.first, options.kills), faults):
        wrong += bool(row["differ"])
        print(json.dumps(row, ensure_ascii=False), flush=True)
    if wrong:
        raise SystemExit(f"{wrong} rows differ; their folders are below {folder}")
    if not options.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
