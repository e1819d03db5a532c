"""Runs whose output folder is in a store: it holds what a folder of this machine would, and later commands find it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from patent_embed.artifacts import open_artifact
from patent_embed.folders import Folder, folder_at
from patent_embed.ownership import MARKER
from patent_embed.scratch import scratch
from tests.e2e.commands import begin_from, patent_embed_here, run_here

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_here")]
Stored = tuple[tuple[str, ...], Folder, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def stored(ray_here: None, finished, s3: str, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """(arguments, output folder, terminal output) of a run into a store where all but the training was done."""
    place = folder_at(f"{s3}/run")
    place.put(begin_from(finished, tmp_path_factory.mktemp("begun")))
    arguments = (*finished[0], "--output_dir", place.address)
    return arguments, place, run_here(*arguments)


def summary(place: Folder) -> dict:
    return json.loads(place.read("run_summary.json") or b"")


def files(place: Folder, name: str) -> dict[str, int]:
    return {entry.name: entry.size for entry in (place / name).entries()}


def test_a_store_holds_what_a_folder_would(finished, stored: Stored) -> None:
    _, place, done = stored
    assert {entry.name.partition("/")[0] for entry in place.entries()} == {
        *("steps", "model", "adapter", "metrics.json", "report.md", "report.html", "run_summary.json"),
        *("config.yaml", "progress.jsonl", "tensorboard", MARKER),
    }
    assert done.stdout.count("reused") == 9
    assert f"report  {place}/report.html" in done.stdout
    for name in ("model", "adapter"):
        local = {p.relative_to(finished[1] / name).as_posix() for p in (finished[1] / name).rglob("*") if p.is_file()}
        assert set(files(place, name)) == local
    found = json.loads(place.read("metrics.json") or b"")["systems"]
    expected = json.loads((finished[1] / "metrics.json").read_text())["systems"]
    assert set(found) == {"bm25", "base", "tuned"}
    for split in ("val", "test"):
        ours, theirs = found["tuned"][split]["metrics"], expected["tuned"][split]["metrics"]
        assert ours == pytest.approx(theirs, abs=1e-3)
    assert not scratch(f"output-{os.getpid()}").exists()


def test_a_second_run_reuses_what_a_store_holds(stored: Stored) -> None:
    arguments, place, _ = stored
    first, metrics = summary(place), place.read("metrics.json")
    again = run_here(*arguments)
    assert again.stdout.count("reused") == 13
    assert place.read("metrics.json") == metrics
    second = summary(place)
    assert [step["reused"] for step in second["steps"].values()] == [True] * 13
    for steps in (first["steps"], second["steps"]):  # folders that are there, whoever made them
        made = {name: open_artifact(place / "steps" / step["folder"]).manifest.step for name, step in steps.items()}
        assert made == {name: name for name in steps}
    events = [json.loads(line) for line in (place.read("progress.jsonl") or b"").splitlines()]
    assert sum(event["event"] == "stage" for event in events) == 26


def test_models_are_compared_on_the_test_set_of_a_run_in_a_store(
    stored: Stored, tiny_model: Path, tmp_path: Path
) -> None:
    _, place, _ = stored
    other = shutil.copytree(tiny_model, tmp_path / "模型")
    compare = ("compare", tiny_model, other, "--output_dir", place.address)
    done = patent_embed_here(*compare)
    folder = place / "compare" / f"{tiny_model.name}-模型"
    assert {entry.name for entry in folder.entries()} == {"metrics.json", "report.md", "report.html"}
    found = json.loads(folder.read("metrics.json") or b"")["systems"]
    of_run = json.loads(place.read("metrics.json") or b"")["systems"]
    assert found["bm25"] == of_run["bm25"]
    assert found[tiny_model.name] == found["模型"] == of_run["base"]
    assert done.stdout.count("reused") == 1  # BM25; the run's own tables are no steps of a comparison
    assert patent_embed_here(*compare).stdout.count("reused") == 5


def test_measuring_a_model_in_a_store_leaves_it_there(stored: Stored) -> None:
    arguments, place, _ = stored
    before = [files(place, name) for name in ("model", "adapter")]
    measured = json.loads(place.read("metrics.json") or b"")["systems"]
    run_here(*arguments, "--test_only")
    assert [files(place, name) for name in ("model", "adapter")] == before
    assert json.loads(place.read("metrics.json") or b"")["systems"] == measured
