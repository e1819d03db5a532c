"""The work of a step in a task: another process does it, and what it makes and says arrives."""

from __future__ import annotations

import errno
import os
from functools import partial
from pathlib import Path

import pytest

from patent_embed.artifacts import Artifact, ArtifactStore, Outcome, Step
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from pipelines import tasks
from pipelines.tasks import Workplace, by_a_worker

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


def write_what_is_there(here: Workplace, said: str) -> Outcome:
    text = here.inputs["texts"].file("text").read_text()
    (here.folder / "made").write_text(f"{said} {text}")
    return Outcome(report={"process": os.getpid()})


def complain(here: Workplace, error: Exception) -> Outcome:
    raise error


def finished(root: Folder) -> Artifact:
    def write(folder: Path) -> Outcome:
        (folder / "text").write_text("patents")
        return Outcome(rows={"texts": 1})

    return ArtifactStore(root).run(Step("texts", 1, {}, {}), write)


def test_a_worker_writes_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder_at(tmp_path)
    store, texts, step = ArtifactStore(root), finished(root), Step("made", 1, {}, {})
    work = by_a_worker(partial(write_what_is_there, said="all"))

    def make(folder: Path) -> Outcome:
        return work(Workplace(folder, store.place(step), {"texts": texts}))

    assert store.run(step, make).report["process"] == os.getpid()  # so little is done here
    monkeypatch.setattr(tasks, "_HERE_ROWS", 0)
    made = store.run(step, make)
    assert made.report["process"] != os.getpid()
    assert made.file("made").read_text() == "all patents"


def test_into_a_store_the_worker_brings_what_it_made(tmp_path: Path, s3: str) -> None:
    """As the worker does it: those of this cluster do not know the address."""
    root = folder_at(f"{s3}/{tmp_path.name}")
    texts, place = finished(root), root / "made"
    outcome = tasks._do(partial(write_what_is_there, said="all"), place, {"texts": texts.address})
    assert isinstance(outcome, Outcome)
    assert place.read("made") == b"all patents"


def test_what_is_wrong_is_said_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_HERE_ROWS", -1)
    here = Workplace(tmp_path, folder_at(tmp_path), {})
    with pytest.raises(UserError, match=r"^no patent has a code; name the field$"):
        by_a_worker(partial(complain, error=UserError("no patent has a code; name the field")))(here)
    with pytest.raises(OSError, match="No space left") as caught:
        by_a_worker(partial(complain, error=OSError(errno.ENOSPC, "No space left", "part")))(here)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "part")
