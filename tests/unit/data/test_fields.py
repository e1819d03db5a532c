"""What fields are called."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.field_names import NAMES
from patent_embed.data.fields import CANONICAL, FieldNames, field_use, is_publication_number, normal, plan, value_at


def canonical(name: str) -> str | None:
    return next(iter(plan((name,))), None)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("publication_number", "publication_number"),
        ("Publication Number", "publication_number"),
        ("publicationNumber", "publication_number"),
        ("公开（公告）号", "publication_number"),
        ("公开(公告)号", "publication_number"),
        ("公开公告号", "publication_number"),
        ("公开号 ", "publication_number"),
        ("\ufeff公开号", "publication_number"),
        ("公告号", "publication_number"),
        ("授权公告号", "publication_number"),
        ("申请公布号", "publication_number"),
        ("公開番号", "publication_number"),
        ("申请号", "application_number"),
        ("专利号", "application_number"),
        ("标题 (中文)", "title"),
        ("标题(译)(简体中文)", "title"),
        ("标题（英文）", "title"),
        ("发明名称（中）", "title"),
        ("标题（中文翻译）", "title"),
        ("Title-题名", "title"),
        ("발명의명칭(한글)", "title"),
        ("公开号 Publication Number", "publication_number"),
        ("公开/公告号", "publication_number"),
        ("申请/专利号", "application_number"),
        ("Display Key", "publication_number"),
        ("Cited By", None),
        ("US Classifications", None),
        ("发明名称", "title"),
        ("專利名稱", "title"),
        ("发明的名称", None),
        ("title_en", "title"),
        ("Title (English)", "title"),
        ("inventionTitle", "title"),
        ("摘要", "abstract"),
        ("摘 要", "abstract"),
        ("【摘要】", "abstract"),
        ("摘要文本", "abstract"),
        ("摘要(中文)", "abstract"),
        ("Abstract - DWPI", "abstract"),
        ("abstractZh", "abstract"),
        ("要約", "abstract"),
        ("IPC", "classifications"),
        ("ipc_codes", "classifications"),
        ("IPC主分类号", "classifications"),
        ("主IPC分类号-小组", "classifications"),
        ("国际专利分类号", "classifications"),
        ("CPC分类号", "classifications"),
        ("CPC Classifications", "classifications"),
        ("IPC Current Full", "classifications"),
        ("洛迦诺分类号", None),
        ("IPC分类号释义", None),
        ("cited_ipc", None),
        ("权利要求书", "claims"),
        ("说明书", "description"),
        ("引证专利", "citations"),
        ("简单同族编号", "family_id"),
        ("公开（公告）日", "publication_date"),
        ("申请（专利权）人", "applicants"),
        ("subtitle", None),
        ("entity", None),
        ("", None),
    ],
)
def test_names(name: str, field: str | None) -> None:
    assert canonical(name) == field


def test_every_name_that_is_listed_means_one_field() -> None:
    seen: dict[str, str] = {}
    for field, names in NAMES.items():
        for name in names:
            assert seen.setdefault(normal(name), field) == field, name
            assert canonical(name) == field, name
    assert set(NAMES) == set(CANONICAL)


def test_the_preferred_name_comes_first() -> None:
    found = plan(("申请号", "授权公告号", "公开公告号", "cpc", "IPC主分类号", "IPC", "title_en", "title"))
    assert [source.name for source in found["publication_number"]] == ["公开公告号", "授权公告号"]
    assert [source.name for source in found["classifications"]] == ["IPC主分类号", "IPC", "cpc"]
    assert [tuple(source) for source in found["title"]] == [("title", ""), ("title_en", "en")]


def test_what_is_used_and_what_looks_like_something() -> None:
    use = field_use(
        ["公开号", "摘要内容2", "专利类型", "标题", "摘要字数", "biblio"], FieldNames.of({"claims": "biblio.claim"})
    )
    assert use.used == {"publication_number": ("公开号",), "title": ("标题",), "claims": ("biblio.claim",)}
    assert use.unused == ("摘要内容2", "专利类型", "摘要字数")
    assert use.near == (("摘要内容2", "abstract"),)


def test_a_name_may_lead_into_objects() -> None:
    fields = {"biblio": {"Title": "T", "parts": [{"x": 1}, {"x": 2}]}, "a.b": 3}
    assert value_at(fields, "biblio.Title") == "T"
    assert value_at(fields, "biblio.title") == "T"
    assert value_at(fields, "biblio.parts.x") == [1, 2]
    assert value_at(fields, "a.b") == 3
    assert value_at(fields, "biblio.none.x") is None


@pytest.mark.parametrize(
    "text", ["CN110000001A", "US-8024075-B2", "US2008173533A1", "WO2023134605A1", "KR1020190000001A"]
)
def test_publication_numbers(text: str) -> None:
    assert is_publication_number(text)
    assert not is_publication_number(text[2:])


@given(st.lists(st.text(max_size=30), max_size=10))
def test_any_names(names: list[str]) -> None:
    assert set(field_use(names).used) <= set(CANONICAL)
