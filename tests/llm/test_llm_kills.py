"""kill -9 of the driver, of an engine and of a node in the middle of generation, with engines on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

from patent_embed.folders import folder_at
from pipelines.steps.queries import write_all
from tests.conftest import ROOT
from tests.llm.tiny import corpus, settings

pytest.importorskip("vllm")
pytestmark = pytest.mark.ray
COUNT = 64  # patents: eight batches, two in flight
DRIVER = """
import sys
from pathlib import Path
from patent_embed.folders import folder_at
from pipelines.session import ray_session
from pipelines.steps.queries import write_all
from tests.llm.tiny import corpus, settings
folder = Path(sys.argv[2])
with ray_session("INFO"):
    write_all(folder, corpus(64), settings(sys.argv[1]), None, folder_at(folder.parent / "store"), 1)
"""


def write(model: Path, folder: Path) -> dict[str, Any]:
    """Write the queries of COUNT patents into ``folder/a``, and give their report."""
    return write_all(folder / "a", corpus(COUNT), settings(model), None, folder_at(folder / "store"), 1).report


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_driver_loses_only_what_was_in_flight(tiny_llm: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tiny_llm), str(tmp_path / "a")], cwd=ROOT)
    try:
        _wait(lambda: len(_stored(tmp_path / "store")) >= 8)
        engines = [process for process in _below(driver.pid) if "EngineCore" in process.name()]
    finally:
        driver.kill()
        driver.wait()
    _wait(lambda: not any(process.is_running() for process in engines))  # or it would keep a GPU's memory
    before = len(_stored(tmp_path / "store"))
    assert engines
    assert 8 <= before < COUNT
    report = write(tiny_llm, tmp_path)
    assert report["reused_answers"] == before
    _is_whole(tmp_path, report, before)


@pytest.mark.usefixtures("ray_cluster")
def test_a_killed_engine_is_started_anew(tiny_llm: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    victims: list[psutil.Process] = []

    def kill() -> None:
        # First the Ray actor around an engine, whose engine has to go too; then an engine inside its actor.
        for name, answers in (("AskEngine", 8), ("EngineCore", 32)):
            _wait(lambda answers=answers: len(_stored(tmp_path / "store")) >= answers)
            (found,) = [each for each in _below() if name in " ".join(each.cmdline()) + each.name()]
            victims.extend([found, *found.children(recursive=True)])
            found.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    report = write(tiny_llm, tmp_path)
    killer.join()
    assert len(victims) >= 3
    _wait(lambda: not any(process.is_running() for process in victims))
    assert report["reused_answers"] == 0
    _is_whole(tmp_path, report, 0)


def test_a_lost_node_is_made_up_for_by_another(tiny_llm: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    command = [sys.executable, "-m", "tests.node_loss", "llm", str(tiny_llm), str(tmp_path / "a")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "a" / "report.json").read_text())
    assert (report["lost_nodes"], report["nodes"]) == (1, 2)
    _is_whole(tmp_path, report, 0)


def _is_whole(folder: Path, report: dict[str, object], before: int) -> None:
    """Every patent has its query, and no answer was generated that is not in the store, or twice."""
    assert len(pq.read_table(folder / "a" / "queries.parquet")) == COUNT
    assert report["errors"] == {}
    keys = _stored(folder / "store")
    assert len(set(keys)) == len(keys) == before + report["generated"]
    print(f"answers before {before}, generated after {report['generated']}")


def _stored(folder: Path) -> list[str]:
    return [key for path in folder.glob("*.parquet") for key in pq.read_table(path)["key"].to_pylist()]


def _below(pid: int | None = None) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def _wait(condition: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
