"""Rows of a table to records."""

from __future__ import annotations

from patent_embed.data.tables import fields_of, header_among, records_of


def test_the_header_is_the_row_that_names_most_fields() -> None:
    rows = [(1, ["公开号统计", None]), (2, [None, None]), (3, ["公开号", "标题"]), (4, ["CN1A", "标题"])]
    assert header_among(rows) == 2
    assert header_among([(1, [None]), (2, ["a", "b"])]) == 1
    assert header_among([(1, [None, " "])]) is None
    assert header_among([]) is None


def test_records() -> None:
    rows = [(1, ["公开号", "标题", "摘要"]), (2, ["CN1A", "a", "b"]), (3, ["", None, " "]), (4, ["CN2A", "c"])]
    assert list(records_of(iter(rows))) == [
        (2, {"公开号": "CN1A", "标题": "a", "摘要": "b"}),
        (4, {"公开号": "CN2A", "标题": "c"}),
    ]
    assert list(records_of(iter([]))) == []


def test_columns_of_one_name() -> None:
    assert fields_of(["IPC", "IPC", "IPC", ""], ["a", "", "b", "c"]) == {"IPC": ["a", "b"]}
    assert fields_of(["IPC", "IPC"], ["", "b"]) == {"IPC": "b"}
