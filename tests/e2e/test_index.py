"""`patent-embed index` on a finished run: each store is opened by its own library and asked the run's own queries."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import open_artifact
from patent_embed.evaluation.search import exact_search
from patent_embed.folders import folder_at
from patent_embed.stores.base import STORES
from pipelines.index import content_of
from pipelines.served_run import embedded
from pipelines.store_writers.base import WRITERS
from tests.conftest import patent, write_json_lines
from tests.e2e.commands import patent_embed_here

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def output(finished: tuple[tuple[str, ...], Path, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run, whose own folder other tests look at."""
    return Path(shutil.copytree(finished[1], tmp_path_factory.mktemp("index") / "out"))


def test_stores_find_what_the_run_found(output: Path) -> None:
    faiss, lancedb = pytest.importorskip("faiss"), pytest.importorskip("lancedb")
    for _ in range(2):  # the second time replaces the first
        patent_embed_here("index", output, "--to", "faiss", "lancedb")
    (ingest,) = output.glob("steps/ingest-*")
    numbers = pq.read_table(ingest / "corpus")["publication_number"].to_pylist()
    ids = (output / "index/faiss/ids.txt").read_text().splitlines()
    table = lancedb.connect(output / "index/lancedb").open_table("patents")
    assert ids == numbers
    assert table.count_rows() == len(numbers)
    for model in ("tuned", "base"):
        (step,) = output.glob(f"steps/embed-{model}-*")
        asked, vectors = np.load(step / "queries.npy")[:5], np.load(step / "passages.npy")
        expected, _ = exact_search(asked, vectors, 5)
        scores = asked @ vectors.T  # by which other products in another order may tell near ones apart otherwise
        _, rows = faiss.read_index(str(output / f"index/faiss/{model}.faiss")).search(asked, 5)
        np.testing.assert_allclose(np.take_along_axis(scores, rows, axis=1), expected, atol=1e-5)
        found = table.search(asked[0], vector_column_name=model).distance_type("dot").limit(5).to_list()
        rows = [numbers.index(each["publication_number"]) for each in found]
        np.testing.assert_allclose(scores[0, rows], expected[0], atol=1e-5)
    about = json.loads((output / "index/lancedb/about.json").read_text())
    assert (about["patents"], list(about["models"])) == (len(numbers), ["tuned", "base"])
    assert {path.name for path in (output / "index").iterdir()} == {"faiss", "lancedb"}


@pytest.mark.usefixtures("ray_here")
def test_another_corpus_is_embedded_and_written(output: Path, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    others = [patent(f"CN99{n:04d}A", title=f"第{n}种装置") for n in range(30)]
    for left in (others, [*others[:7], *others[8:]]):  # the second time one patent is gone
        data = write_json_lines(tmp_path / "others.jsonl", left)
        patent_embed_here("index", output, "--to", "faiss", "--data_dir", data)
        ids = (output / "index/faiss/ids.txt").read_text().splitlines()
        assert ids == [each["publication_number"] for each in left]
    made = [open_artifact(path).report for path in output.glob("steps/embeddings-*")]
    assert sorted(report["encoded_by_this_run"] for report in made) == [0, 0, 30, 30]  # by two models


def test_what_cannot_be_written_is_said(tmp_path: Path) -> None:
    names = STORES.names()
    assert names == ["lancedb", "faiss", "usearch", "qdrant", "pgvector"]
    assert "holds no finished run" in patent_embed_here("index", tmp_path, "--to", *names[:-1], check=2).stderr


@pytest.mark.usefixtures("ray_here")
@pytest.mark.parametrize("stored", [False, True])
def test_workers_write_the_table_that_one_process_writes(output: Path, tmp_path: Path, stored: bool, s3: str) -> None:
    lancedb = pytest.importorskip("lancedb")
    pytest.importorskip("lance_ray", reason="lance-ray is not installed")
    place = folder_at(f"{s3}/workers/lancedb" if stored else tmp_path / "by-workers")
    alone = tmp_path / "alone"
    with embedded(str(output)) as found:
        content = content_of(found)
        expected = STORES["lancedb"].write(content, alone)
        for _ in range(2):  # the second time replaces the first
            assert WRITERS["lancedb"].write(found.corpus, found.models, content, place) == expected
    options = {"allow_http": "true"} if stored else {}
    tables = [lancedb.connect(alone), lancedb.connect(place.address, storage_options=options)]
    one, other = (table.open_table("patents").to_arrow().sort_by("publication_number") for table in tables)
    assert one.schema == other.schema
    assert one.equals(other)
