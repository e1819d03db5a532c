"""Stored answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.queries.store import Answer, QueryStore


def test_stored_answers_come_back_and_errors_do_not(tmp_path: Path) -> None:
    store = QueryStore(folder_at(tmp_path))
    store.add([Answer("a", "甲", prompt_tokens=3), Answer("b", error="timeout")])
    store.add([Answer("c", "丙"), Answer("d", "丁", "truncated", 3, 9)])
    store.add([])
    (tmp_path / ".part-x.parquet.tmp").write_bytes(b"torn by a kill")
    assert QueryStore(folder_at(tmp_path)).read({"a", "b", "x"}) == {"a": Answer("a", "甲", prompt_tokens=3)}
    assert store.read({"d"}) == {"d": Answer("d", "丁", "truncated", 3, 9)}  # it was paid for
    (tmp_path / "part-0.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(UserError, match=r"part-0\.parquet"):
        store.read({"a"})
