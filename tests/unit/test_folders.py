"""Artifacts, stored answers and input in an S3-compatible store that the test starts itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from patent_embed.artifacts import ArtifactStore, Outcome, Step, open_artifact
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from patent_embed.queries.store import Answer, QueryStore

pytest.importorskip("moto.server")
STEP = Step("step", 1, {"margin": 0.3}, {"up": "d"})


@pytest.fixture
def bucket(s3: str, request: pytest.FixtureRequest) -> Folder:
    """An empty folder of its own."""
    return folder_at(f"{s3}/{request.node.name}")


def work(folder: Path) -> Outcome:
    (folder / "deep").mkdir()
    (folder / "a.txt").write_text("one")
    (folder / "deep" / "b.txt").write_text("two, longer")
    return Outcome(rows={"x": 2})


def test_an_artifact_is_made_found_and_read_elsewhere(bucket: Folder, tmp_path: Path) -> None:
    store = ArtifactStore(bucket / "steps")
    assert store.find(STEP) is None
    made = store.run(STEP, work)
    assert made.manifest.files == {"a.txt": 3, "deep/b.txt": 11}
    shutil.rmtree(made.path)  # as on a machine that did not make it
    elsewhere = ArtifactStore(folder_at(str(bucket / "steps"))).find(STEP)
    assert elsewhere is not None
    assert elsewhere.manifest == made.manifest
    assert elsewhere.file("deep").joinpath("b.txt").read_text() == "two, longer"
    assert not (elsewhere.path / "a.txt").exists()  # only what is asked for is fetched
    assert open_artifact(elsewhere.address).file("a.txt").read_text() == "one"


def test_an_artifact_that_was_made_anew_is_not_taken_from_an_old_copy(bucket: Folder, tmp_path: Path) -> None:
    store = ArtifactStore(bucket / "steps")
    assert open_artifact(store.run(STEP, work).address).file("a.txt").read_text() == "one"

    def other(folder: Path) -> Outcome:
        work(folder)
        (folder / "a.txt").write_text("two")  # as long as before
        return Outcome()

    assert open_artifact(store.run(STEP, other).address).file("a.txt").read_text() == "two"


def test_damage_is_named(bucket: Folder, tmp_path: Path) -> None:
    store = ArtifactStore(bucket / "steps")
    address = store.run(STEP, work).address
    folder_at(address).delete("a.txt")
    with pytest.raises(UserError, match=r"a\.txt has None bytes, its manifest says 3"):
        store.find(STEP)
    cut = tmp_path / "cut"
    cut.write_text("{")
    folder_at(address).put(cut, "manifest.json")
    with pytest.raises(UserError, match=r"manifest\.json cannot be read: it is torn"):
        store.find(STEP)


UPLOAD = """
import sys
from patent_embed.artifacts import ArtifactStore, Outcome
from patent_embed.folders import folder_at
from tests.unit.test_folders import STEP
def work(folder):
    for i in range(40):
        (folder / f"{i:02d}").write_bytes(bytes(1 << 20))
    return Outcome()
ArtifactStore(folder_at(sys.argv[1])).run(STEP, work)
"""


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing_that_looks_finished(
    bucket: Folder, tmp_path: Path
) -> None:
    steps = bucket / "steps"
    process = subprocess.Popen([sys.executable, "-c", UPLOAD, str(steps)])
    end = time.monotonic() + 120
    while not steps.entries():  # the first files are there
        assert process.poll() is None
        assert time.monotonic() < end
    process.kill()
    process.wait()
    left = steps.entries()
    assert 0 < len(left) < 40
    assert {entry.size for entry in left} == {1 << 20}  # an object is there whole or not at all
    store = ArtifactStore(steps)
    assert store.find(STEP) is None
    store.run(STEP, work)
    assert [entry.name for entry in (steps / STEP.folder).entries()] == ["a.txt", "deep/b.txt", "manifest.json"]


def test_readers_at_the_same_time_see_whole_files(bucket: Folder, tmp_path: Path) -> None:
    content = os.urandom(1 << 20)
    (tmp_path / "file").write_bytes(content)
    bucket.put(tmp_path / "file", "file")
    target, seen = tmp_path / "copies" / "file", []

    def fetch() -> None:
        bucket.fetch("file", target)
        seen.append(target.read_bytes() == content)

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 4
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_answers_are_kept_in_the_store(bucket: Folder) -> None:
    QueryStore(bucket / "answers").add([Answer("a", "first"), Answer("b", "other"), Answer("c", error="timeout")])
    time.sleep(1.1)  # times of writing are whole seconds there
    QueryStore(bucket / "answers").add([Answer("a", "second")])
    found = QueryStore(bucket / "answers").read(["a", "b", "c"])
    assert {key: answer.text for key, answer in found.items()} == {"a": "second", "b": "other"}


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("oss://bucket/x", "is in no store that can be read"),
        ("s3://key:secret@bucket/x", "holds a password"),
    ],
)
def test_addresses_that_cannot_be_used(uri: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        folder_at(uri)
    assert "secret" not in str(caught.value)


def test_options_of_the_file_system_stay_behind_the_path() -> None:
    folder = folder_at("s3://bucket/x?region=eu-west-1&endpoint_override=127.0.0.1:9&scheme=http") / "y"
    assert folder.address == "s3://bucket/x/y?region=eu-west-1&endpoint_override=127.0.0.1:9&scheme=http"
    assert (folder.inside, folder.name, folder.parent.inside) == ("bucket/x/y", "y", "bucket/x")
    assert folder.everywhere
    assert not folder_at("experiments/s3").everywhere
