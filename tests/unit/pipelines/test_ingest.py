"""What the ingest step takes a data folder for."""

from __future__ import annotations

from pathlib import Path

from patent_embed.queries.cache import find_query_cache
from pipelines.steps.ingest import find_input
from tests.unit.queries.files import write_cache


def test_a_single_file_has_the_query_cache_beside_it(tmp_path: Path) -> None:
    beside = write_cache(tmp_path / "llm_queries_cache.json", {})
    data_file = tmp_path / "patents.jsonl"
    data_file.touch()
    assert find_query_cache(find_input(str(data_file)).root, None) == beside
