"""Folders: what holds wherever one lies, then artifacts and stored answers in an S3-compatible store.

The test starts the store itself.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from patent_embed.artifacts import ArtifactStore, Outcome, Step, open_artifact
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at, write_atomic, write_json
from patent_embed.queries.store import Answer, QueryStore
from patent_embed.scratch import scratch
from tests.conftest import ROOT

STEP = Step("step", 1, {"margin": 0.3}, {"up": "d"})


@pytest.fixture
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder of its own in a store, still absent."""
    pytest.importorskip("moto.server")
    return folder_at(f"{request.getfixturevalue('s3')}/{tmp_path.name}")


@pytest.fixture(params=["here", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A folder that is still absent: on this machine, in a store."""
    if request.param == "here":
        return folder_at(tmp_path / "place")
    bucket: Folder = request.getfixturevalue("bucket")
    return bucket


@pytest.fixture
def full(place: Folder) -> Folder:
    """The same with two files at the top, two in folders, and two whose names begin alike."""
    for name, content in FILES.items():
        place.write(name, content)
    return place


FILES = {
    "a.txt": b"one",
    "deep/b.txt": b"two, longer",
    "deep/er/c.txt": b"",
    "deeper.txt": b"3",
    "一 种#%20?.json": b"{}",
}


def content(place: Folder) -> dict[str, bytes | None]:
    """Every file that is there."""
    return {entry.name: place.read(entry.name) for entry in place.entries()}


def below(folder: Path) -> dict[str, bytes]:
    """Every file of a folder of this machine, hidden ones, too."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_absent_folder_is_an_empty_one(place: Folder, tmp_path: Path) -> None:
    assert place.entries() == []
    assert place.size("a.txt") is None
    assert place.read("a.txt") is None
    place.delete("a.txt")
    place.delete()
    assert place.fetch_all(tmp_path / "copies") == tmp_path / "copies"
    assert below(tmp_path) == {}


def test_files_are_listed_by_name_at_any_depth(full: Folder) -> None:
    entries = full.entries()
    assert [entry.name for entry in entries] == sorted(FILES)
    assert {entry.name: entry.size for entry in entries} == {name: len(each) for name, each in FILES.items()}
    now = time.time_ns()
    assert all(now - 120e9 < entry.mtime_ns <= now + 1e9 for entry in entries)
    assert [entry.name for entry in (full / "deep").entries()] == ["b.txt", "er/c.txt"]


def test_files_are_read_whole_and_in_pieces(full: Folder) -> None:
    assert content(full) == FILES
    assert {name: full.size(name) for name in FILES} == {name: len(each) for name, each in FILES.items()}
    assert full.size("deep") is None  # a folder is no file
    with full.open("deep/b.txt") as file:
        assert file.read(3) == b"two"
        file.seek(-6, os.SEEK_END)
        assert file.read() == b"longer"


def test_what_is_not_there_cannot_be_opened(full: Folder, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        full.open("absent")
    with pytest.raises(FileNotFoundError):
        full.opener("absent")()
    with pytest.raises(FileNotFoundError):
        full.fetch("absent", tmp_path / "copies" / "absent")
    with pytest.raises(FileNotFoundError):
        full.put(tmp_path / "absent", "absent")
    assert below(tmp_path / "copies") == {}
    assert content(full) == FILES


def test_an_opener_opens_anew_each_time(full: Folder) -> None:
    opener = full.opener("a.txt")
    for _ in range(2):
        with opener() as file:
            assert file.read() == b"one"


def test_a_file_is_there_once_it_is_whole(full: Folder) -> None:
    for name in ("deep/new.txt", "a.txt"):  # a new one, and one that takes an old one's place
        before = content(full)
        with full.new_file(name) as path:
            path.write_bytes(b"the ")
            assert content(full) == before
            path.write_bytes(b"the whole")
        assert content(full) == before | {name: b"the whole"}


@pytest.mark.parametrize("name", ["deep/new.txt", "a.txt"])
def test_a_file_that_fails_leaves_nothing(full: Folder, tmp_path: Path, name: str) -> None:
    def write_half() -> None:
        with full.new_file(name) as path:
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert content(full) == FILES
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_file_is_written_over(full: Folder) -> None:
    full.write("deep/b.txt", b"2")
    full.write("deep/new/d.txt", b"4")
    assert content(full) == FILES | {"deep/b.txt": b"2", "deep/new/d.txt": b"4"}


def test_files_and_folders_are_put(full: Folder, tmp_path: Path) -> None:
    source = tmp_path / "source"
    for name in ("x.txt", "in/y.txt", "b.txt"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(f"new {name}")
    full.put(source / "x.txt", "deep/z.txt")
    assert content(full) == (found := FILES | {"deep/z.txt": b"new x.txt"})
    full.put(source, "deep")
    assert content(full) == (found := found | {f"deep/{name}": each for name, each in below(source).items()})
    full.put(source)
    assert content(full) == found | below(source)
    assert set(below(source)) == {"x.txt", "in/y.txt", "b.txt"}  # copied, not moved


def test_a_workspace_is_put_and_left(place: Folder, tmp_path: Path) -> None:
    work = place.workspace("test")
    assert below(work) == {}
    (work / "deep").mkdir()
    (work / "deep" / "a.txt").write_text("one")
    place.put(work)  # on this machine that is the place itself
    place.put(work / "deep" / "a.txt", "deep/a.txt")
    place.put(work / "deep", "deep")
    assert content(place) == {"deep/a.txt": b"one"}
    cache = tmp_path / "cache"
    place.leave(work, cache)
    assert below(place.copies(cache)) == {"deep/a.txt": b"one"}  # readers here need not fetch it
    assert content(place) == {"deep/a.txt": b"one"}

    again = place.workspace("test")
    assert below(again) == ({} if place.everywhere else {"deep/a.txt": b"one"})
    (again / "left").write_text("over")
    assert ("left" in below(place.workspace("test"))) != place.everywhere
    for _ in range(2):
        place.leave(again, cache)  # readers have that copy already
        assert again.exists() != place.everywhere
    assert below(cache) == ({"deep/a.txt": b"one"} if place.everywhere else {})


def test_a_file_is_fetched(full: Folder, tmp_path: Path) -> None:
    for name in FILES:
        for before in (None, b"an older one, and longer"):
            target = tmp_path / "copies" / name
            if before is not None:
                target.write_bytes(before)
            full.fetch(name, target)
            assert target.read_bytes() == FILES[name]
    assert below(tmp_path / "copies") == FILES
    here = full.copies(tmp_path / "copies") / "a.txt"
    full.fetch("a.txt", here)  # on this machine onto itself
    assert here.read_bytes() == FILES["a.txt"]
    assert content(full) == FILES


def test_all_files_are_fetched(full: Folder, tmp_path: Path) -> None:
    assert full.fetch_all(tmp_path / "all") == tmp_path / "all"
    assert below(tmp_path / "all") == FILES
    full.fetch_all(tmp_path / "part", "deep")
    assert below(tmp_path / "part") == {"b.txt": b"two, longer", "er/c.txt": b""}
    full.fetch_all(tmp_path / "none", "absent")
    assert below(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("a.txt", {"a.txt"}),
        ("deep/b.txt", {"deep/b.txt"}),
        ("deep", {"deep/b.txt", "deep/er/c.txt"}),
        ("absent", set()),
        ("", set(FILES)),
    ],
)
def test_files_and_folders_are_deleted(full: Folder, name: str, gone: set[str]) -> None:
    beside = full.parent / f"{full.name}-beside"  # what only begins alike stays
    beside.write("a.txt", b"1")
    full.delete(name)
    assert content(full) == {key: value for key, value in FILES.items() if key not in gone}
    assert content(beside) == {"a.txt": b"1"}


@pytest.mark.parametrize("name", ["steps", "embed-模型-0123abcd", "a b#c?d%41"])
def test_folders_have_names_parents_and_addresses(place: Folder, name: str) -> None:
    folder = place / name
    assert (folder.name, folder.parent) == (name, place)
    assert place / f"{name}/x" == folder / "x"
    assert (folder / "x").parent == folder
    folder.write("a.txt", b"1")
    assert content(place) == {f"{name}/a.txt": b"1"}
    assert content(folder_at(folder.address)) == {"a.txt": b"1"}
    assert folder_at(folder) is folder
    assert str(folder) == folder.address
    with folder.filesystem.open_input_stream(f"{folder.inside}/a.txt") as file:
        assert file.read() == b"1"


def test_folders_are_equal_by_where_they_lie(place: Folder, tmp_path: Path) -> None:
    assert place == folder_at(place.address)
    assert len({place, folder_at(place.address), place / "x"}) == 2
    assert place != place / "x"
    assert place != place.address
    assert place != folder_at(tmp_path / "elsewhere")


def test_only_a_store_is_reached_from_everywhere(place: Folder) -> None:
    assert place.everywhere == place.address.startswith("s3://")


ELSEWHERE = """
import pickle, sys
place, opener = pickle.load(sys.stdin.buffer)
assert opener().read() == b"one"
place.write("answer", place.read("a.txt") + repr(place).encode())
"""


def test_a_folder_travels_to_another_process(full: Folder, tmp_path: Path) -> None:
    message = pickle.dumps((full, full.opener("a.txt")))
    env = os.environ | {"PYTHONPATH": str(ROOT)}  # in another working directory, as workers are
    subprocess.run([sys.executable, "-c", ELSEWHERE], input=message, env=env, cwd=tmp_path, check=True, timeout=60)
    assert full.read("answer") == b"one" + repr(full).encode()
    assert pickle.loads(pickle.dumps(full)) == full


def test_a_path_of_this_machine_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert folder_at("out") == folder_at(tmp_path / "x" / ".." / "out") == folder_at(f"{tmp_path}/out/")
    assert folder_at("~/x").address == str(tmp_path / "~" / "x")


def test_a_file_of_this_machine_is_written_whole(tmp_path: Path) -> None:
    write_atomic(tmp_path / "new" / "a", b"one")
    write_json(tmp_path / "new" / "b.json", {"name": "甲", "n": [1]})
    with pytest.raises(TypeError):
        write_json(tmp_path / "new" / "b.json", {"name": {1, 2}})
    assert below(tmp_path) == {"new/a": b"one", "new/b.json": '{\n "name": "甲",\n "n": [\n  1\n ]\n}\n'.encode()}


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
    bucket: Folder,
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


def _link(root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    root.symlink_to(root.parent / "elsewhere")


def _dangling(root: Path) -> None:
    root.symlink_to(root.parent / "nowhere")


def _writable(root: Path) -> None:
    root.mkdir()
    root.chmod(0o777)


def _file(root: Path) -> None:
    root.write_text("x")


def _foreign(root: Path) -> None:
    root.mkdir(mode=0o700)
    os.chown(root, 12345, 12345)


@pytest.mark.parametrize("planted", [_link, _dangling, _writable, _file, _foreign])
def test_a_scratch_folder_of_another_user_is_not_used(
    planted: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if planted is _foreign and os.getuid() != 0:
        pytest.skip("only root gives files away")
    planted(tmp_path / f"patent_embed-{os.getuid()}")
    with pytest.raises(UserError, match="TMPDIR"):
        scratch("x")


def test_the_scratch_folder_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    root = scratch("x").parent
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o755)  # as an earlier version left it: others could read, not write
    assert scratch("x").parent.stat().st_mode & 0o777 == 0o700
