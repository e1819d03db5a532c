from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.layouts import found, items, localized, numbered_claims, preferred, text, texts


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (None, []),
        (1, [1]),
        ([1, None, 2], [1, 2]),
        ({"list": [{"element": 1}, {"element": 2}]}, [1, 2]),
        ({"list": [1]}, [1]),
        ('[{"text": "a"}]', [{"text": "a"}]),
        ('{"text": "a"}', [{"text": "a"}]),
        ('{"text": "a"', ['{"text": "a"']),
        ("[0001] a", ["[0001] a"]),
    ],
)
def test_items(value: Any, right: list[Any]) -> None:
    assert items(value) == right


def test_found_fans_out_over_lists() -> None:
    value = {"a": [{"b": {"c": 1}}, {"b": [{"c": 2}, {"c": [3, 4]}, "x"]}, "y", {"b": None}]}
    assert found(value, "a", "b", "c") == [1, 2, 3, 4]
    assert (found(value, "a", "x"), found(None, "a"), found("x", "a")) == ([], [], [])


def test_texts_are_texts_and_whole_numbers() -> None:
    values = [" a ", 10, 10000001.0, "a", "", None, True, 1.5, float("nan"), "nan", "None", "null", 10**30, {}, []]
    assert texts(values) == ["a", "10", "10000001"]


def test_localized_and_preferred() -> None:
    values = [{"text": "f", "language": "FR"}, {"lang": "en", "text": "e"}, "plain", {"text": ""}, 3.5]
    assert [each["lang"] + ":" + each["text"] for each in localized(values)] == ["fr:f", "en:e", ":plain"]
    assert preferred(values) == ["e"]
    assert preferred([{"lang": "zh_CN", "text": ["c", "d"]}, *values]) == ["c", "d"]
    assert preferred(["plain"]) == ["plain"]
    assert preferred([]) == []


@pytest.mark.parametrize(
    ("whole", "right"),
    [
        ("1. A pump. 2. The pump of claim 1. 3. The pump of claim 2.", 3),
        ("What is claimed is: 1. A pump, comprising:\n a shaft of 2. 5 mm.\n2. The pump of claim 1.", 2),
        ("1. 一种泵。2. 根据权利要求1所述的泵。3、根据权利要求2所述的泵。", 3),
        ("1 . A pump.\n\n2 . The pump.", 2),
        ("A pump with 1. and 2. parts", 1),
        ("1. A pump.", 1),
        ("x" * 100 + ". 1. A pump. 2. Another.", 1),
        ("", 0),
        ("   ", 0),
    ],
)
def test_numbered_claims(whole: str, right: int) -> None:
    claims = numbered_claims(whole)
    assert len(claims) == right
    if right > 1:
        assert [claim[0] for claim in claims] == [str(number + 1) for number in range(right)]


@given(st.text(alphabet="12. \n:a。", max_size=60))
def test_claims_lose_nothing_but_a_preface(whole: str) -> None:
    claims = numbered_claims(whole)
    assert "".join("".join(claims).split()) in "".join(whole.split())


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["list", "text", "lang"]) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(JSON)
def test_no_value_raises(value: Any) -> None:
    items(value)
    found(value, "text", "lang")
    localized(items(value))
    preferred(items(value))
    assert isinstance(text(value, "text"), str)
