"""Files of vectors: workers read a corpus where it lies and write their own rows, or, into a store, give them back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import Artifact, ArtifactStore, Outcome, Step
from patent_embed.config.model import ModelConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from patent_embed.progress.bus import Progress
from pipelines import embedders
from pipelines.engine import Context, LocalModel, Output, StepSpec
from pipelines.known_vectors import Known
from pipelines.vector_files import CorpusPassages, VectorFiles

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
ABSTRACTS = [f"一种装置，编号{i}，{'包括壳体' * (i % 7)}" for i in range(300)]

NUMBERS = [f"CN{n:03d}A" for n in range(300)]
PATENTS = dict(zip(NUMBERS, ABSTRACTS, strict=True))


def corpus(folder: Path, abstracts: dict[str, str]) -> Artifact:
    """Patents in two parts of two row groups each, of which no block of 128 is a multiple."""
    numbers, texts = list(abstracts), list(abstracts.values())

    def work(folder: Path) -> Outcome:
        (folder / "corpus").mkdir()
        for part, rows in enumerate((slice(0, 140), slice(140, None))):
            table = pa.table({"publication_number": numbers[rows], "abstract": texts[rows]})
            pq.write_table(table, folder / "corpus" / f"part-{part}.parquet", row_group_size=90)
        return Outcome()

    return ArtifactStore(folder_at(folder)).run(Step("ingest", 1, {}, {"patents": str(hash(tuple(texts)))}), work)


def context(folder: Path, place: Folder, model: Path) -> Context:
    spec = StepSpec("embed-x", 1, {}, {"model": LocalModel(model)}, lambda context: Outcome())
    folder.mkdir(exist_ok=True)
    return Context(folder, place, {}, spec, Output(place.parent), Progress())


def written(folder: Path, place: Folder, model: Path, ingest: Artifact) -> list[np.ndarray]:
    files = VectorFiles(context(folder, place, model), ModelConfig())
    files.add_corpus("passages", CorpusPassages(ingest))
    files.add("asked", pa.chunked_array([ABSTRACTS[:5], ABSTRACTS[5:7]]), ["query", "passage"] * 3 + ["query"])
    files.add("nothing", pa.chunked_array([], pa.string()), "query")
    assert files.write() == 32
    assert files.counts == {"passages": 300, "asked": 7, "nothing": 0}
    return [np.load(folder / f"{name}.npy", mmap_mode="r") for name in files.counts]


@pytest.mark.parametrize("actors", [False, True])
def test_the_vectors_are_those_of_the_encoder(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, actors: bool
) -> None:
    if actors:
        monkeypatch.setattr(embedders, "_FEW_TEXTS", 0)
        monkeypatch.setattr(embedders, "_TEXTS_PER_BATCH", 64)
    out, encoder = tmp_path / "out", Encoder.load(tiny_model)
    passages, asked, nothing = written(out, folder_at(out), tiny_model, corpus(tmp_path / "steps", PATENTS))
    np.testing.assert_allclose(passages, encoder.encode(ABSTRACTS, "passage"), atol=1e-5)
    for kind, rows in (("query", slice(0, 7, 2)), ("passage", slice(1, 7, 2))):
        np.testing.assert_allclose(asked[rows], encoder.encode(ABSTRACTS[:7][rows], kind), atol=1e-5)
    assert nothing.shape == (0, 32)


def test_into_a_store_the_driver_writes_what_workers_give_back(
    tmp_path: Path, tiny_model: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = corpus(tmp_path / "steps", PATENTS)
    here = written(tmp_path / "out", folder_at(tmp_path / "out"), tiny_model, ingest)
    store = folder_at(f"{s3}/{tmp_path.name}/embed-x")
    there = written(tmp_path / "workspace", store, tiny_model, ingest)
    for mine, theirs in zip(here, there, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_texts_that_are_the_same_are_not_embedded_again(tmp_path: Path, tiny_model: Path) -> None:
    store, old = ArtifactStore(folder_at(tmp_path / "steps")), corpus(tmp_path / "steps", PATENTS)
    marked = np.random.default_rng(0).normal(size=(300, 32)).astype(np.float32)  # no encoder gives these
    vectors = store.run(
        Step("embed-base", 1, {}, {}), lambda folder: (np.save(folder / "passages.npy", marked), Outcome())[1]
    )
    changed = {f"{number}b" if number in NUMBERS[50:53] else number: text for number, text in PATENTS.items()}
    changed |= {NUMBERS[140]: "一种新的水泵。", "CN999A": "一种灯具。"}
    new = corpus(tmp_path / "steps", changed)
    out = tmp_path / "out"
    files = VectorFiles(context(out, folder_at(out), tiny_model), ModelConfig())
    files.add_corpus("passages", CorpusPassages(new, Known(old.address, vectors.address, "embed-base-0")))
    files.write()
    found = np.load(out / "passages.npy")
    same = [number in PATENTS and PATENTS[number] == text for number, text in changed.items()]
    assert files.taken() == {"taken": {"vectors": 296, "of": "embed-base-0"}}
    np.testing.assert_array_equal(found[same], marked[[NUMBERS.index(number) for number in np.array([*changed])[same]]])
    fresh = [text for text, known in zip(changed.values(), same, strict=True) if not known]
    np.testing.assert_allclose(found[~np.array(same)], Encoder.load(tiny_model).encode(fresh, "passage"), atol=1e-5)


def test_embeddings_that_are_no_numbers_are_an_error(tmp_path: Path, broken_model: Path) -> None:
    out = tmp_path / "out"
    files = VectorFiles(context(out, folder_at(out), broken_model), ModelConfig())
    files.add("asked", pa.chunked_array([ABSTRACTS[:2]]), "query")
    with pytest.raises(RuntimeError, match="an embedding of asked in the 2 rows from 0 on holds NaN"):
        files.write()


def test_a_full_disk_is_said(tmp_path: Path, tiny_model: Path) -> None:
    out = tmp_path / "out"
    files = VectorFiles(context(out, folder_at(out), tiny_model), ModelConfig())
    (out / "asked.npy").symlink_to("/dev/full")
    files.add("asked", pa.chunked_array([ABSTRACTS[:2]]), "query")
    with pytest.raises(UserError, match=r"asked\.npy' cannot be written: No space left on device; free space"):
        files.write()
