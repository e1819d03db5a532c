"""A real log of queries: what is read of it, and what becomes of it without any model."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from patent_embed.data.schemas import QUERIES, SPLIT_TABLE
from patent_embed.errors import UserError
from patent_embed.queries.judged import with_judged
from patent_embed.queries.log import read_log
from patent_embed.queries.sources import mask_by_source

PAIRS = [("泵 防冻", "CN1A"), ("泵 防冻", "CN2A"), ("叶轮", "CN3A")]


@pytest.mark.parametrize(
    "content",
    [
        '{"query": "泵  防冻", "clicked": ["CN1A", "cn2a"]}\n{"query": "叶轮", "patent": "CN3A"}\n',
        '{"q": "泵 防冻", "clicks": [{"patent": "CN1A", "at": 3}, "CN2A"]}\n{"q": "叶轮", "cited": "CN3A"}\n',
        "Query,Publication_Number\n泵 防冻,CN1A\n泵 防冻,CN2A\n叶轮,CN3A\n叶轮,CN3A\n",
        "\ufeffquery\tpatents\r\n泵 防冻\tCN1A; CN2A\r\n叶轮\tCN3A\r\n",
    ],
)
def test_logs_of_several_kinds_say_the_same(tmp_path: Path, content: str) -> None:
    (tmp_path / "log").write_text(content, encoding="utf-8")
    found = read_log(tmp_path / "log")
    assert [(query.replace("泵防冻", "泵 防冻"), number) for query, number in found.pairs] == PAIRS
    assert found.left_out == {}


def test_lines_that_say_nothing_are_counted(tmp_path: Path) -> None:
    lines = [
        '{"query": "叶轮", "patent": "CN3A"}',
        '{"query": "',
        "[1]",
        '{"query": "泵"}',
        '{"patent": "CN1A"}',
        "",
        "7",
    ]
    (tmp_path / "log").write_text("\n".join(lines), encoding="utf-8")
    found = read_log(tmp_path / "log")
    assert found.pairs == [("叶轮", "CN3A")]
    assert found.left_out == {"lines without a patent": 1, "lines without a query": 1, "torn lines": 3}


@pytest.mark.parametrize("content", ["", "query,patent\n", "a,b\n1,2\n", '{"query": "泵"}\n'])
def test_a_log_without_any_pair_is_a_mistake(tmp_path: Path, content: str) -> None:
    (tmp_path / "log").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"queries\.log .* holds no query with a patent \(.+\); write a query"):
        read_log(tmp_path / "log")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_log(tmp_path / "nothing")


def test_a_log_trains_without_a_model() -> None:
    numbers = [f"CN{i}A" for i in range(6)]
    splits = ["train"] * 4 + ["val", "test"]
    table = pa.table({"publication_number": numbers, "family": numbers, "split": splits}, SPLIT_TABLE)
    ruled = [(number, 0, f"规则{number}", "rules", "claim", "") for number in numbers]
    queries = pa.Table.from_pylist([dict(zip(QUERIES.names, row, strict=True)) for row in ruled], schema=QUERIES)
    said = [
        ("泵", "CN0A", True),
        ("叶轮", "CN1A", True),
        ("轴", "CN1A", True),
        ("轴", "CN5A", True),
        ("阀", "CN9A", True),
    ]
    found = with_judged(queries, table, said, logged=["泵", "叶轮", "轴", "阀"])
    rows = [(row["publication_number"], row["query"]) for row in found.queries.to_pylist() if row["source"] == "log"]
    # "轴" is answered by a test patent: it is held out, and no training patent learns it.
    assert rows == [("CN0A", "泵"), ("CN1A", "叶轮"), ("CN5A", "轴")]
    assert found.counts["of unknown patents"] == 1
    trained = found.queries.filter(pa.array([row["source"] != "" for row in found.queries.to_pylist()]))
    mask = mask_by_source(trained["source"], None, enough=3, setting="training.query_sources", use="train on")
    assert [source for source, kept in zip(trained["source"].to_pylist(), mask, strict=True) if kept] == ["log"] * 3
