import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import MANIFEST, ArtifactStore, Outcome, Step, open_artifact
from patent_embed.errors import UserError
from patent_embed.folders import folder_at

STEP = Step("mine", 1, {"k": 3, "name": "甲"}, {"ingest": "abc"})


def work(folder: Path) -> Outcome:
    pq.write_table(pa.table({"id": ["a", "b"]}), folder / "rows.parquet")
    return Outcome(rows={"rows": 2}, rejects={"empty": 1})


@pytest.mark.parametrize(
    "other",
    [
        Step("mine", 2, STEP.settings, STEP.inputs),
        Step("mine", 1, {"k": 4, "name": "甲"}, STEP.inputs),
        Step("mine", 1, STEP.settings, {"ingest": "abd"}),
    ],
)
def test_the_digest_follows_code_settings_and_inputs(other: Step) -> None:
    assert other.digest != STEP.digest
    assert Step("mine", 1, {"name": "甲", "k": 3}, {"ingest": "abc"}).digest == STEP.digest


def test_a_finished_step_is_found_and_an_unfinished_one_is_not(tmp_path: Path) -> None:
    store = ArtifactStore(folder_at(tmp_path))
    assert store.find(STEP) is None

    def fails(folder: Path) -> Outcome:
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.run(STEP, fails)
    assert store.find(STEP) is None
    made = store.run(STEP, work)
    assert not (made.path / "half").exists()
    found = store.find(STEP)
    assert found is not None
    assert found.manifest.rows == {"rows": 2}
    assert found.table("rows").to_pydict() == {"id": ["a", "b"]}


def test_keep_partial_leaves_what_is_there(tmp_path: Path) -> None:
    store = ArtifactStore(folder_at(tmp_path))
    store.place(STEP).write("checkpoint", b"1")
    made = store.run(STEP, work, keep_partial=True)
    assert (made.path / "checkpoint").read_text() == "1"


@pytest.mark.parametrize("content", [b"", b'{"schema_version": 1', b'{"foreign": true}', b"[]"])
def test_a_torn_or_foreign_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    store = ArtifactStore(folder_at(tmp_path))
    made = store.run(STEP, work)
    (made.path / MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.json cannot be read"):
        store.find(STEP)


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    made = ArtifactStore(folder_at(tmp_path)).run(STEP, work)
    manifest = json.loads((made.path / MANIFEST).read_text())
    (made.path / MANIFEST).write_text(json.dumps(manifest | {"schema_version": 99}))
    with pytest.raises(UserError, match="schema version 99"):
        open_artifact(made.path)


def test_a_cut_or_missing_file_is_named(tmp_path: Path) -> None:
    made = ArtifactStore(folder_at(tmp_path)).run(STEP, work)
    file = made.path / "rows.parquet"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"rows\.parquet has \d+ bytes"):
        open_artifact(made.path)
    file.unlink()
    with pytest.raises(UserError, match=r"rows\.parquet has None bytes"):
        open_artifact(made.path)


def test_a_flipped_byte_is_named_when_the_file_is_read(tmp_path: Path) -> None:
    made = ArtifactStore(folder_at(tmp_path)).run(STEP, work)
    file = made.path / "rows.parquet"
    content = file.read_bytes()
    file.write_bytes(content[:4] + bytes([content[4] ^ 1]) + content[5:])
    found = open_artifact(made.path)  # sizes are as they were
    with pytest.raises(UserError, match=r"rows\.parquet has not the content that its manifest vouches for"):
        found.table("rows")


def test_a_damaged_copy_of_a_store_is_fetched_again(tmp_path: Path, s3: str) -> None:
    made = ArtifactStore(folder_at(f"{s3}/{tmp_path.name}/steps")).run(STEP, work)
    copy = open_artifact(made.place).file("rows.parquet")
    copy.write_bytes(b"x" * copy.stat().st_size)
    assert open_artifact(made.place).table("rows").to_pydict() == {"id": ["a", "b"]}
    made.place.write("rows.parquet", b"x" * copy.stat().st_size)
    copy.unlink()
    with pytest.raises(UserError, match=r"rows\.parquet has not the content"):
        open_artifact(made.place).table("rows")


def test_a_table_is_the_parts_of_its_manifest_and_no_others(tmp_path: Path) -> None:
    def parts(folder: Path) -> Outcome:
        (folder / "rows").mkdir()
        pq.write_table(pa.table({"id": ["a"]}), folder / "rows" / "part-0.parquet")
        return Outcome()

    made = ArtifactStore(folder_at(tmp_path)).run(STEP, parts)
    pq.write_table(pa.table({"id": ["planted"]}), made.path / "rows" / "part-1.parquet")
    pq.write_table(pa.table({"id": ["planted"]}), made.path / "rows.parquet")
    assert open_artifact(made.path).table("rows").to_pydict() == {"id": ["a"]}


def test_working_files_are_left_and_are_no_part_of_the_result(tmp_path: Path) -> None:
    def checkpoints(folder: Path) -> Outcome:
        (folder / "attempt-1").mkdir()
        (folder / "attempt-1" / "state").write_text("1")
        return Outcome(working="attempt-")

    made = ArtifactStore(folder_at(tmp_path)).run(STEP, checkpoints)
    assert made.manifest.files == {}
    assert (made.path / "attempt-1" / "state").exists()


def test_an_artifact_made_aside_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    store = ArtifactStore(folder_at(tmp_path / "steps"))
    store.run(STEP, work)
    aside = ArtifactStore(folder_at(tmp_path / "steps" / "again")).run(STEP, lambda folder: Outcome(rows={"rows": 7}))
    replaced = store.replace(STEP, aside)
    assert (replaced.place, replaced.manifest.rows, replaced.manifest.files) == (store.place(STEP), {"rows": 7}, {})


_REMOVED: list[str] | None = None  # names, while a test asks


def _heard(event: str, arguments: tuple[object, ...]) -> None:
    if _REMOVED is not None and event == "os.remove":
        _REMOVED.append(Path(str(arguments[0])).name)


sys.addaudithook(_heard)  # no process can take one back


@pytest.mark.parametrize("made_by", ["run", "replace"])
def test_the_manifest_goes_before_what_it_vouches_for(tmp_path: Path, made_by: str) -> None:
    """Killed while a finished step is removed, the same command would find it damaged."""
    global _REMOVED
    store, aside = ArtifactStore(folder_at(tmp_path / "a")), ArtifactStore(folder_at(tmp_path / "b"))

    def work(folder: Path) -> Outcome:
        for name in "abcdefghijklmnopqrstuvwxyz":
            (folder / name).write_text(name)
        return Outcome()

    store.run(STEP, work)
    fresh = aside.run(STEP, work)
    _REMOVED = []
    if made_by == "run":
        store.run(STEP, work)
    else:
        store.replace(STEP, fresh)
    removed, _REMOVED = _REMOVED, None
    assert removed[0] == MANIFEST
    assert sorted(removed[1:]) == list("abcdefghijklmnopqrstuvwxyz")
