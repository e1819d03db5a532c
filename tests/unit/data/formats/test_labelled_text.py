"""Texts with labels."""

from __future__ import annotations

import io

import pytest

from patent_embed.data.formats.labelled_text import LABELLED_TEXT
from patent_embed.data.labelled import labelled_fields
from patent_embed.data.reading import format_of, read_file
from patent_embed.data.records import RecordParser

TEXT = """公开号：CN110000001A
标题：一种装置
摘要：一种图像放大装置，包括采集模块，
步骤1：插值，步骤2：输出，用于缩放。
IPC：G06T3/40
"""


def read(text: str, name: str = "x.txt", encoding: str = "utf-8") -> list[tuple[str, str, str]]:
    records = [
        record
        for raw in read_file(name, lambda: io.BytesIO(text.encode(encoding)))
        for record in RecordParser().parse_raw(raw)
    ]
    assert {record.layout for record in records} == {"labelled_text"}
    return [(record.source, record.publication_number, record.reason or ";".join(record.codes)) for record in records]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16"])
def test_one_record_a_file(encoding: str) -> None:
    assert read(TEXT, encoding=encoding) == [("x.txt", "CN110000001A", "G06T3/40")]


def test_several_records_a_file() -> None:
    text = f"{TEXT}\n{TEXT.replace('0001A', '0002A')}"
    assert read(text) == [("x.txt:1", "CN110000001A", "G06T3/40"), ("x.txt:7", "CN110000002A", "G06T3/40")]


def test_labels_on_lines_of_their_own_and_a_number_in_the_files_name() -> None:
    text = """
abstract
    【課題】画像の縁に沿って補間し、ジャギーを減らす装置を提供する。【選択図】図１
title
    画像拡大装置
IPC
 G06T 3/40
"""
    assert read(text, "deep/JP2009201208A.txt") == [("deep/JP2009201208A.txt", "JP2009201208A", "G06T3/40")]


def test_lines_with_an_id() -> None:
    text = "id-CN110000001A    abstract-一种ID-1的装置，title-2，包括采集模块、插值模块和输出模块。\n"
    text += "id-CN110000002A    abstract-\n"
    assert read(text) == [("x.txt:1", "CN110000001A", "missing_title"), ("x.txt:2", "CN110000002A", "missing_title")]
    (first, _) = LABELLED_TEXT.read(io.BytesIO(text.encode()), "x")
    assert first.fields["abstract"].startswith("一种ID-1的装置")


@pytest.mark.parametrize(
    "text", ["Title and abstract: see below.", "Note: this\nWarning: that", "公开号,标题,摘要\n1,2,3\n"]
)
def test_other_texts(text: str) -> None:
    found = format_of("x.txt", text.encode())
    assert found is None or not found.recognises("x.txt", text.encode()) or found.name == "csv"
    assert labelled_fields(text) == {}
