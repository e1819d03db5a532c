"""Query caches: where one is found, what is refused, and that what is written is read again."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from patent_embed.data.schemas import QUERIES
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.queries.cache import find_query_cache, read_query_cache, write_query_cache
from tests.unit.queries.files import write_cache


def test_where_a_cache_is_found(tmp_path: Path) -> None:
    data = folder_at(tmp_path)
    assert find_query_cache(data, None) is None
    processed = write_cache(tmp_path / "processed" / "llm_queries_cache.json", {})
    assert find_query_cache(data, None) == processed
    beside = write_cache(tmp_path / "llm_queries_cache.json", {})
    assert find_query_cache(data, None) == beside
    assert find_query_cache(data, str(processed)) == processed
    with pytest.raises(UserError, match=r"absent\.json"):
        find_query_cache(data, str(tmp_path / "absent.json"))


@pytest.mark.parametrize(
    "content", [b'{"queries_by_id": {"CN1": {"que', b"[]", b'{"queries": {}}', b'{"queries_by_id": []}']
)
def test_torn_and_foreign_caches_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "cache.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cache\.json"):
        read_query_cache(path)


def test_an_exported_cache_is_read_again(tmp_path: Path) -> None:
    rows = [("CN1A", 0, "怎样防冻？", "llm", "question", ""), ("CN1A", 1, "防冻 水泵", "llm", "keywords", "")]
    rows += [("CN2A", 0, "地里的石头怎么捡？", "cache", "question", ""), ("CN3A", 0, "某装置", "rules", "claim", "")]
    columns = list(zip(*rows, strict=True))
    table = pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, QUERIES, strict=True)], schema=QUERIES)
    assert write_query_cache(tmp_path / "llm_queries_cache.json", table) == 2
    assert read_query_cache(tmp_path / "llm_queries_cache.json") == {"CN1A": "怎样防冻？", "CN2A": "地里的石头怎么捡？"}
    assert json.loads((tmp_path / "llm_queries_cache.json").read_text())["patent_ids"] == ["CN1A", "CN2A"]
