"""Stores that workers write: which, and what each of them writes: its own part, with the vectors of its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import ArtifactStore, ModelRef, Outcome, Step
from patent_embed.folders import folder_at
from patent_embed.stores.base import STORES
from pipelines.served import PASSAGES, ServedModel
from pipelines.store_writers.base import files_of, patents_of, writer_of

ROWS = (5, 3, 4)


def test_each_part_of_the_corpus_has_the_vectors_of_its_rows(tmp_path: Path) -> None:
    numbers = [f"CN{n}A" for n in range(sum(ROWS))]
    vectors = np.arange(2 * len(numbers), dtype=np.float32).reshape(-1, 2)

    def corpus(folder: Path) -> Outcome:
        (folder / "corpus").mkdir()
        begin = 0
        for part, rows in enumerate(ROWS):
            mine = pa.table({"publication_number": numbers[begin : begin + rows], "title": ["t"] * rows})
            pq.write_table(mine, folder / "corpus" / f"part-{part}.parquet", row_group_size=2)
            begin += rows
        return Outcome()

    def embed(folder: Path) -> Outcome:
        np.save(folder / PASSAGES, vectors)
        return Outcome()

    store = ArtifactStore(folder_at(tmp_path))
    made, embedded = store.run(Step("corpus", 1, {}, {}), corpus), store.run(Step("embed", 1, {}, {}), embed)
    models = {"tuned": ServedModel(ModelRef("nowhere"), embedded, [])}
    assert files_of(made) == [{"part": 0, "first": 0}, {"part": 1, "first": 5}, {"part": 2, "first": 8}]
    written = []
    for file in files_of(made):
        batch = {name: np.array([value]) for name, value in file.items()}
        written.append(pa.concat_tables(patents_of(batch, made.address, models)))
    assert [len(table) for table in written] == list(ROWS)
    table = pa.concat_tables(written)
    assert table["publication_number"].to_pylist() == numbers
    assert table["applicants"].null_count == len(numbers)
    assert np.array_equal(table["tuned"].to_pylist(), vectors)


@pytest.mark.parametrize(
    ("cluster", "store", "place", "written_by"),
    [
        ("127.0.0.1:6379", "lancedb", "here", "lancedb"),
        ("127.0.0.1:6379", "lancedb", "s3://bucket/x?region=eu-west-1", "lancedb"),
        ("127.0.0.1:6379", "lancedb", "gs://anonymous@bucket/x", None),  # which LanceDB was not tried with
        ("127.0.0.1:6379", "faiss", "here", None),
        ("", "lancedb", "here", None),
    ],
)
def test_workers_write_where_there_are_some_and_their_package_reaches(
    cluster: str, store: str, place: str, written_by: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lance_ray", reason="lance-ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    writer = writer_of(STORES[store], folder_at(place))
    assert (None if writer is None else writer.name) == written_by
