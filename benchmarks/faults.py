"""What a lost node costs: a run on a head and two nodes, one of which is killed in the middle of a step.

Each row names the step, what was redone, and the seconds until another node was at the step again, beside the step's
seconds without a fault. The artifact must be the same to the byte, or the program stops.

    python benchmarks/faults.py --patents 4000
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from patent_embed.artifacts import open_artifact
from patent_embed.data import sample
from tests.openai_server import OpenAiServer
from tests.ray_nodes import Driver, RayNodes, wait_for

SETTINGS = (
    *("--query_backend", "api", "--set", "queries.api.requests_in_flight=8", "--set", "negatives.distributed=true"),
    *("--num_epochs", "4", "--batch_size", "32", "--learning_rate", "1e-3", "--set", "evaluation.bm25=false"),
    *("--set", "negatives.scoring.enabled=false", "--set", "evaluation.distributed=true"),
)


@dataclass(frozen=True)
class Fault:
    """A node is killed ``pause`` seconds after it started to work at ``worker`` and the run said ``after``."""

    step: str
    worker: str
    after: str = ""
    pause: float = 0.0


FAULTS = {
    fault.step: fault
    for fault in (
        Fault("ingest", "ParseFiles", pause=0.3),
        Fault("negatives", "ray::", after="] queries "),  # at anything: its tasks are done in less than a look takes
        Fault("queries", "AskApi", pause=3),
        Fault("train", "RayTrainWorker", after="epoch 2 done"),
        Fault("embed-tuned", "WriteVectors", pause=4),
        Fault("evaluate-tuned", "_search_shard"),
    )
}


def write_patents(folder: Path, count: int) -> None:
    """Generated patents over files of seven: thousands of files are read in several tasks."""
    folder.mkdir(parents=True)
    records = iter(sample.generate(count, seed=7))
    for number in range(-(-count // 7)):
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in itertools.islice(records, 7)]
        (folder / f"{number:06d}.jsonl").write_text("".join(lines), encoding="utf-8")


def answer(message: str) -> str:
    """A query of the abstract's own words, and of no other patent's."""
    abstract = message.split("摘要: ")[1].split("\n")[0]
    mark = hashlib.md5(abstract.encode()).hexdigest()
    return json.dumps({"query": f"{abstract[2:8]}与{abstract[-9:-3]}相配的{mark[:10]}型装置"}, ensure_ascii=False)


def contents(out: Path, step: str) -> dict[str, str]:
    """Digest of every file of a step but its checkpoints, whose names tell when they were made."""
    (folder,) = (path for path in (out / "steps").glob(f"{step}-????????") if path.name[:-9] == step)
    files = [name for name in open_artifact(folder).manifest.files if not name.startswith("attempt-")]
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}


def forget(out: Path, step: str) -> float:
    """Remove a finished step, so that only it runs again. Returns the seconds that it took."""
    (folder,) = (path for path in (out / "steps").glob(f"{step}-????????") if path.name[:-9] == step)
    seconds = open_artifact(folder).manifest.seconds
    shutil.rmtree(folder)
    if step == "queries":
        shutil.rmtree(out / "query_store")
    return seconds


def run_with_fault(
    cluster: RayNodes, arguments: Sequence[str | Path], fault: Fault, on_kill: Callable[[], None] = lambda: None
) -> tuple[Driver, float]:
    """Run, kill a node in the middle of ``fault.step``, and start another one once the run has gone on without it.

    Returns the finished driver and the seconds from the kill until another node was at the step.
    """
    driver = Driver(arguments, cluster.env)
    try:

        def at_work() -> Any:
            return next((node for node in cluster.workers() if node.runs(fault.worker)), None)

        if fault.after:
            wait_for(lambda: driver.saw(fault.after), 600, fault.after)
        node = wait_for(lambda: at_work() or driver.ended, 600, f"a node at {fault.worker}")
        if node is True:
            raise RuntimeError(f"the run ended before a node was seen at {fault.worker}:\n{driver.output}")
        time.sleep(fault.pause)
        on_kill()
        node.kill()
        killed = time.monotonic()
        wait_for(lambda: at_work() or driver.ended, 600, f"another node at {fault.worker}")
        seconds = time.monotonic() - killed
        code = driver.wait()
    except BaseException:
        driver.kill()
        raise
    finally:
        cluster.add(1)
    if code != 0:
        raise RuntimeError(f"the run ended with {code}:\n{driver.output}")
    return driver, seconds


def _training_steps(out: Path, since: float) -> list[int]:
    events = map(json.loads, (out / "progress.jsonl").read_text().splitlines())
    return [event["step"] for event in events if event["event"] == "step" and event["time"] >= since]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patents", type=int, default=4000)
    parser.add_argument("--model_name", default="bundled")
    parser.add_argument("--steps", nargs="*", choices=[*FAULTS, "driver"], default=[*FAULTS, "driver"])
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the nodes end, too
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    data, out = folder / "data", folder / "out"
    write_patents(data, options.patents)
    os.environ["OPENAI_API_KEY"] = "sk-not-a-real-one"
    with OpenAiServer({}, answer, delay=0.05) as server, RayNodes(0) as cluster:
        cluster.add(1)
        cluster.add(1)
        arguments = ("--data_dir", data, "--output_dir", out, "--model_name", options.model_name, *SETTINGS)
        arguments += ("--llm_base_url", server.url, "--llm_model", "m")
        driver = Driver(arguments, cluster.env)
        if driver.wait(3600) != 0:
            raise SystemExit(f"the run without a fault failed:\n{driver.output}")
        for step in options.steps:
            row = _driver(cluster, arguments, out) if step == "driver" else _node(cluster, arguments, out, step, server)
            print(json.dumps(row), flush=True)
    shutil.rmtree(folder)


def _node(
    cluster: RayNodes, arguments: Sequence[str | Path], out: Path, step: str, server: OpenAiServer
) -> dict[str, Any]:
    expected, before = contents(out, step), forget(out, step)
    asked, started = server.total, time.time()
    _, again = run_with_fault(cluster, arguments, FAULTS[step])
    if contents(out, step) != expected:
        raise SystemExit(f"{step} differs after the fault")
    (folder,) = (path for path in (out / "steps").glob(f"{step}-????????") if path.name[:-9] == step)
    manifest = open_artifact(folder).manifest
    row: dict[str, Any] = {"step": step, "without_s": before, "with_s": manifest.seconds, "again_s": round(again, 1)}
    if step == "queries":
        row["requests_redone"] = server.total - asked - manifest.report["generated"]
    if step == "train":
        steps = _training_steps(out, started)
        row["steps_redone"] = len(steps) - len(set(steps))
    return row


def _driver(cluster: RayNodes, arguments: Sequence[str | Path], out: Path) -> dict[str, Any]:
    """The driver is killed in the training and started again with ``--resume``."""
    expected, before = contents(out, "train"), forget(out, "train")
    started = time.time()
    driver = Driver(arguments, cluster.env)
    wait_for(lambda: driver.saw("epoch 2 done"), 600, "the second epoch")
    driver.kill()
    killed = time.monotonic()
    driver = Driver([*arguments, "--resume"], cluster.env)
    wait_for(lambda: driver.saw("going on after epoch"), 600, "the training to go on")
    again = time.monotonic() - killed
    if driver.wait() != 0 or contents(out, "train") != expected:
        raise SystemExit(f"the training differs after its driver was killed:\n{driver.output}")
    steps = _training_steps(out, started)
    redone = len(steps) - len(set(steps))
    return {"step": "driver", "without_s": before, "again_s": round(again, 1), "steps_redone": redone}


if __name__ == "__main__":
    main()
