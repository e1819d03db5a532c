"""Vectors of texts that were embedded before are found, and no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import Artifact, ArtifactStore, Outcome, Step
from patent_embed.config.model import ModelConfig
from patent_embed.folders import folder_at
from patent_embed.progress.bus import Progress
from pipelines.engine import Context, Digest, Output, StepSpec
from pipelines.known_vectors import Known, KnownMatrix, KnownPieces, KnownVectors, find_known, joined, same_file

IDS = [f"CN{n:04d}A" for n in range(0, 100, 2)]
VECTORS = np.arange(150, dtype=np.float32).reshape(50, 3)
CONFIG = ModelConfig()


def made(store: ArtifactStore, step: Step, write: Callable[[Path], object]) -> Artifact:
    def work(folder: Path) -> Outcome:
        write(folder)
        return Outcome()

    return store.run(step, work)


def corpus(store: ArtifactStore, digest: str, ids: Sequence[str], texts: Sequence[str]) -> Artifact:
    """Parts of 20 patents, in groups of 7."""

    def write(folder: Path) -> None:
        (folder / "corpus").mkdir()
        for part in range(0, len(ids), 20):
            rows = slice(part, part + 20)
            # A list before the id: columns of a file are counted by leaves.
            table = pa.table({"codes": [["x", "y"]] * len(ids[rows]), "publication_number": ids[rows]})
            table = table.append_column("abstract", pa.array(texts[rows]))
            pq.write_table(table, folder / "corpus" / f"part-{part // 20:05d}.parquet", row_group_size=7)

    return made(store, Step("texts", 1, {}, {"files": digest}), write)


def write_matrix(folder: Path) -> None:
    np.save(folder / "passages.npy", VECTORS)


def write_pieces(folder: Path) -> None:
    (folder / "vectors").mkdir()
    for part in range(0, 50, 20):
        for group, first in enumerate(range(part, min(part + 20, 50), 7)):
            rows = slice(first, min(first + 7, part + 20))
            column = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS[rows].ravel()), 3)
            path = folder / "vectors" / f"part-{part // 20:05d}-{group:04d}.parquet"
            pq.write_table(pa.table({"id": IDS[rows], "embedding": column}), path)


@pytest.fixture(params=[KnownMatrix, KnownPieces])
def known(request: pytest.FixtureRequest, tmp_path: Path) -> KnownVectors:
    store = ArtifactStore(folder_at(tmp_path))
    texts = corpus(store, "a", IDS, [f"text {name}" for name in IDS])
    write = write_matrix if request.param is KnownMatrix else write_pieces
    vectors = made(store, Step("embeddings", 1, {}, {"texts": texts.digest}), write)
    found: KnownVectors = request.param(Known(texts.address, vectors.address, "embeddings-0"), CONFIG)
    return found


def asked(ids: Sequence[str], changed: Sequence[str] = ()) -> tuple[pa.Array, pa.Array]:
    return pa.array(ids), pa.array([f"text {name}{'!' * (name in changed)}" for name in ids])


def test_what_is_the_same_is_known_whatever_stands_between(known: KnownVectors) -> None:
    ids = sorted([*IDS[3:30], "CN0011A", "CN0033A", "CN0059A"])
    found, vectors = known.of(*asked(ids, changed=[IDS[10], "CN0011A"]))
    expected = [name in IDS and name != IDS[10] for name in ids]
    assert found.tolist() == expected
    rows = [IDS.index(name) for name, same in zip(ids, expected, strict=True) if same]
    np.testing.assert_array_equal(vectors, VECTORS[rows])


@pytest.mark.parametrize("ids", [[], ["CN0001A"], ["AA"], ["ZZ1", "ZZ2"], ["CN0013A", "CN0015A"]])
def test_what_is_new_is_not(known: KnownVectors, ids: list[str]) -> None:
    found, vectors = known.of(*asked(ids) if ids else (pa.array([], pa.string()), pa.array([], pa.string())))
    assert not found.any()
    assert vectors is None


def test_all_is_known_of_the_same_corpus(known: KnownVectors) -> None:
    found, vectors = known.of(*asked(IDS))
    assert found.all()
    np.testing.assert_array_equal(vectors, VECTORS)


def test_a_file_with_just_these_ids_is_found(known: KnownVectors) -> None:
    if not isinstance(known, KnownPieces):
        pytest.skip("a matrix is one file")
    whole = known.whole_file(pa.array(IDS[20:27]))
    assert whole is not None
    assert whole.name == "part-00001-0000.parquet"
    assert known.whole_file(pa.array(IDS[20:26])) is None
    assert known.whole_file(pa.array(IDS[21:28])) is None


def test_old_and_new_vectors_are_joined_in_order() -> None:
    known, old, new = np.array([True, False, True]), VECTORS[:2], VECTORS[7:8]
    np.testing.assert_array_equal(joined(known, old, new), VECTORS[[0, 7, 1]])
    np.testing.assert_array_equal(joined(np.zeros(1, np.bool_), None, new), new)
    np.testing.assert_array_equal(joined(np.ones(2, np.bool_), old, np.zeros((0, 3), np.float32)), old)


def test_a_file_is_linked(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    same_file(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")


def test_only_vectors_of_the_same_model_and_settings_are_taken(tmp_path: Path) -> None:
    output = Output(folder_at(tmp_path))
    old, new = (corpus(output.store, digest, IDS, IDS) for digest in "ab")

    def spec(model: str = "m", version: int = 1, kind: str = "passage", texts: Artifact = new) -> StepSpec:
        inputs = {"texts": texts, "model": Digest(model)}
        return StepSpec("embeddings", version, {"kind": kind, "dims": (1, 2)}, inputs, lambda context: Outcome())

    def found(step: StepSpec) -> str | None:
        place = output.store.place(step.identity)
        known = find_known(Context(tmp_path, place, {"texts": new}, step, output, Progress()), "texts")
        return known.corpus if known else None

    assert found(spec()) is None
    made(output.store, spec(texts=old).identity, write_pieces)
    assert found(spec()) == old.address
    assert [found(each) for each in (spec("other"), spec(version=2), spec(kind="query"))] == [None] * 3
    old.place.delete()
    assert found(spec()) is None


def test_finished_steps_come_last_one_first_without_what_is_damaged(tmp_path: Path) -> None:
    store = ArtifactStore(folder_at(tmp_path))
    steps = [Step(name, 1, {"n": n}, {}) for n, name in enumerate(["embed-base", "embed-tuned", "embeddings", "embed"])]
    for step in steps:
        made(store, step, write_matrix)
    assert [each.manifest.step for each in store.finished("embed")] == ["embed", "embed-tuned", "embed-base"]
    (tmp_path / steps[1].folder / "passages.npy").unlink()
    assert [each.manifest.step for each in store.finished("embed")] == ["embed", "embed-base"]
    assert store.finished("em") == []
