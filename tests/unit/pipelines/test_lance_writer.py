"""What each worker writes of a corpus: its own part, with the vectors of its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.artifacts import ArtifactStore, ModelRef, Outcome, Step
from patent_embed.folders import folder_at
from pipelines.lance_writer import files_of, patents_of
from pipelines.served import PASSAGES, ServedModel

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
