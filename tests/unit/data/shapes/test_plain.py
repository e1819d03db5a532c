"""Records whose names say what their fields are."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.shapes.base import SHAPES, shape_of
from patent_embed.data.shapes.plain import PLAIN
from patent_embed.data.values import text_of
from tests.unit.data.test_values import JSON

CHINESE, ENGLISH = "一种图像放大装置", "Image scaler"


def test_it_is_asked_last_and_takes_all() -> None:
    assert list(SHAPES)[-1] is PLAIN
    assert shape_of({"a": 1}) is PLAIN
    assert shape_of({}) is PLAIN


@pytest.mark.parametrize(
    ("fields", "title"),
    [
        ({"title": CHINESE, "title_en": ENGLISH}, CHINESE),
        ({"Title": ENGLISH, "title_zh": CHINESE}, CHINESE),
        ({"标题(英文)": ENGLISH, "标题(译)(简体中文)": CHINESE}, CHINESE),
        ({"标题": "Dispositif", "标题(英文)": ENGLISH}, ENGLISH),
        ({"标题": "nan", "标题(英文)": ENGLISH}, ENGLISH),
        ({"标题": "", "名称": CHINESE}, CHINESE),
        ({"title": None, "title_en": None}, ""),
        ({"biblio": {"title": CHINESE}}, CHINESE),
        ({"a": {"b": [{"invention-title": CHINESE}]}}, CHINESE),
        ({"priority": {"title": CHINESE}}, ""),
        ({"text": f"Title: {CHINESE}\nAbstract: ..."}, CHINESE),
    ],
)
def test_titles(fields: dict[str, Any], title: str) -> None:
    assert text_of(PLAIN.record(fields).get("title")) == title


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"申请号": "CN201910000001.0", "公开公告号": "CN1A"}, "CN1A"),
        ({"公开公告号": "", "授权公告号": "CN1B"}, "CN1B"),
        ({"公开公告号": "-", "授权公告号": "CN1B"}, "CN1B"),
        ({"country": "US", "doc_number": "8372101", "kind": "B2"}, "US8372101B2"),
        ({"doc_number": "8372101"}, "8372101"),
        ({"publication_number": "8372101", "country": "US", "kind": "B2"}, "8372101"),
        ({"id": "CN110000001A"}, "CN110000001A"),
        ({"id": "17"}, ""),
    ],
)
def test_numbers(fields: dict[str, Any], number: str) -> None:
    assert text_of(PLAIN.record(fields).get("publication_number")) == number


def test_all_code_fields_count() -> None:
    fields = {"ipc": ["G06T"], "cpc": ["G06T3/4007"], "classification": "发明专利", "IPC主分类号": "H04N5/232"}
    assert PLAIN.record(fields)["classifications"] == ["发明专利", "H04N5/232", ["G06T"], ["G06T3/4007"]]
    split = {"section": "G", "class": "06", "subclass": "T", "main_group": "3", "subgroup": "40", "title": "x"}
    assert PLAIN.record(split)["classifications"] == "G06T3/40"


@given(
    st.dictionaries(st.text(max_size=12) | st.sampled_from(["title", "abstract", "ipc", "id", "text", "biblio"]), JSON)
)
def test_any_object(fields: dict[str, Any]) -> None:
    PLAIN.record(fields)
    assert all(isinstance(place, str) for place, _ in PLAIN.inner(fields) or ())
