"""Stores: what each holds is searched by its own library, and compared with our exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patent_embed.errors import UserError
from patent_embed.evaluation.search import exact_search
from patent_embed.folders import folder_at
from patent_embed.stores.base import STORES, Content, Store, blocks
from patent_embed.stores.lance import storage_options
from tests.unit.stores.content import PATENTS, K, make_content, make_queries


@pytest.fixture(scope="module")
def content() -> Content:
    return make_content()


@pytest.fixture(scope="module")
def queries(content: Content) -> dict[str, np.ndarray]:
    return make_queries(content)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of vectors, and several batches in a group of patents."""
    monkeypatch.setattr(blocks, "__defaults__", (256,))
    monkeypatch.setattr(Content.with_vectors, "__defaults__", (128,))


def written(name: str, content: Content, folder: Path) -> Store:
    store = STORES[name]
    pytest.importorskip(store.package, reason=f"{store.package} is not installed")
    store.write(content, folder)
    return store


def test_lancedb_finds_what_exact_search_finds_and_has_the_fields(
    content: Content, queries: dict[str, np.ndarray], tmp_path: Path
) -> None:
    written("lancedb", content, tmp_path)
    import lancedb

    table = lancedb.connect(tmp_path).open_table("patents")
    assert table.count_rows() == PATENTS
    for name, asked in queries.items():
        scores, rows = exact_search(asked, content.vectors[name], K)
        for query, expected, best in zip(asked, rows.tolist(), scores, strict=True):
            found = table.search(query, vector_column_name=name).distance_type("dot").limit(K).to_list()
            assert [each["publication_number"] for each in found] == [f"CN{row:04d}A" for row in expected]
            assert 1 - np.array([each["_distance"] for each in found]) == pytest.approx(best, abs=1e-5)
    (row,) = table.search().where("publication_number = 'CN0011A'").to_list()
    assert (row["title"], row["codes"], row["publication_date"]) == ("装置11", ["G06T3/40", "A47G25/06"], "2020-01-02")
    undated = table.search().where("publication_date IS NULL").limit(PATENTS).to_list()
    assert len(undated) == PATENTS // 10


def test_faiss_finds_what_exact_search_finds(content: Content, queries: dict[str, np.ndarray], tmp_path: Path) -> None:
    written("faiss", content, tmp_path)
    import faiss

    assert (tmp_path / "ids.txt").read_text().splitlines() == [f"CN{n:04d}A" for n in range(PATENTS)]
    for name, asked in queries.items():
        scores, rows = faiss.read_index(str(tmp_path / f"{name}.faiss")).search(asked, K)
        expected_scores, expected = exact_search(asked, content.vectors[name], K)
        assert rows.tolist() == expected.tolist()
        assert scores == pytest.approx(expected_scores, abs=1e-5)


def test_usearch_finds_nearly_all_that_exact_search_finds(
    content: Content, queries: dict[str, np.ndarray], tmp_path: Path
) -> None:
    written("usearch", content, tmp_path)
    from usearch.index import Index

    for name, asked in queries.items():
        index = Index.restore(str(tmp_path / f"{name}.usearch"), view=True)
        found = index.search(asked, K)
        _, expected = exact_search(asked, content.vectors[name], K)
        alike = [len(set(a) & set(b)) / K for a, b in zip(found.keys.tolist(), expected.tolist(), strict=True)]
        assert np.mean(alike) > 0.98
        assert 1 - found.distances[0] == pytest.approx(
            content.vectors[name][found.keys[0].astype(int)] @ asked[0], abs=1e-5
        )


def test_qdrant_finds_what_exact_search_finds_and_has_the_fields(
    content: Content, queries: dict[str, np.ndarray], tmp_path: Path
) -> None:
    written("qdrant", content, tmp_path)
    from qdrant_client import QdrantClient

    client = QdrantClient(path=str(tmp_path))
    try:
        for name, asked in queries.items():
            _, rows = exact_search(asked, content.vectors[name], K)
            for query, expected in zip(asked[:5], rows.tolist(), strict=False):
                found = client.query_points("patents", query.tolist(), using=name, limit=K).points
                assert [point.id for point in found] == expected
                assert found[0].payload["publication_number"] == f"CN{expected[0]:04d}A"
        (point,) = client.retrieve("patents", [11])
        assert point.payload == {
            "publication_number": "CN0011A",
            "title": "装置11",
            "abstract": "一种装置，编号11。",
            "language": "zh",
            "codes": ["G06T3/40", "A47G25/06"],
            "publication_date": "2020-01-02",
            "applicants": None,
        }
    finally:
        client.close()


def test_a_store_whose_package_is_missing_is_said() -> None:
    class Absent(type(STORES["faiss"])):  # type: ignore[misc]
        package = "not_installed_anywhere"

    with pytest.raises(UserError, match=r'pip install "patent-embed\[faiss\]"'):
        Absent().require()


def test_lancedb_writes_into_an_object_store_and_replaces_what_is_there(
    content: Content, queries: dict[str, np.ndarray], s3: str
) -> None:
    lancedb = pytest.importorskip("lancedb")
    place = folder_at(f"{s3}/stores/lancedb")
    for written in (make_content(patents=300), content):
        facts = STORES["lancedb"].write_there(written, place)
        assert facts is not None
        table = lancedb.connect(place.address, storage_options={"allow_http": "true"}).open_table("patents")
        assert table.count_rows() == written.patents
    for name, asked in queries.items():
        _, rows = exact_search(asked, content.vectors[name], K)
        for query, expected in zip(asked[:5], rows.tolist(), strict=False):
            found = table.search(query, vector_column_name=name).distance_type("dot").limit(K).to_list()
            assert [each["publication_number"] for each in found] == [f"CN{row:04d}A" for row in expected]
    (row,) = table.search().where("publication_number = 'CN0011A'").to_list()
    assert row["title"] == "装置11"
    data = [entry for entry in place.entries() if entry.name.startswith("patents.lance/data/")]
    assert len(data) == 1  # that of before is gone
    assert STORES["faiss"].write_there(content, place) is None


@pytest.mark.parametrize(
    ("address", "environment", "expected"),
    [
        ("s3://b/x", {}, {}),
        ("s3://b/x", {"AWS_ENDPOINT_URL": "http://127.0.0.1:5000"}, {"allow_http": "true"}),
        ("s3://b/x?region=eu-west-1", {"AWS_ENDPOINT_URL": "https://s.org"}, {"region": "eu-west-1"}),
        ("s3://b/x?endpoint_override=s.org:9000", {}, {"endpoint": "https://s.org:9000"}),
        (
            "s3://b/x?endpoint_override=h:1&scheme=http",
            {"AWS_ENDPOINT_URL": "https://s.org"},
            {"endpoint": "http://h:1", "allow_http": "true"},
        ),
    ],
)
def test_lancedb_is_told_what_pyarrow_reads_from_an_address(
    address: str, environment: dict[str, str], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert storage_options(address) == expected
