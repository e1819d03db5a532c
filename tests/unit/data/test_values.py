"""Values of any type to texts."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.dates import date_of
from patent_embed.data.values import language_of, paragraphs_of, text_of, unfold

ENGLISH, CHINESE, FRENCH = "A device with a motor", "一种带电机的装置", "Dispositif avec un moteur"


@pytest.mark.parametrize(
    "value",
    [
        CHINESE,
        [CHINESE],
        {"zh": CHINESE, "en": ENGLISH},
        {"en": ENGLISH, "zh": CHINESE},
        {"EN": ENGLISH, "zh-Hans": CHINESE},
        {"en": ENGLISH, "zh_CN": CHINESE},
        {"en": ENGLISH, "CHS": CHINESE},
        {"en": ENGLISH, "cn": CHINESE},
        {"en": {"text": ENGLISH}, "zh": {"text": CHINESE}},
        {"en": [ENGLISH], "zh": [CHINESE]},
        [{"lang": "en", "text": ENGLISH}, {"lang": "zh-Hans-CN", "text": CHINESE}],
        [{"language": "ENG", "value": ENGLISH}, {"language": "Chinese", "value": CHINESE}],
        [{"@lang": "en", "$": ENGLISH}, {"@lang": "zh", "$": CHINESE}],
        [{"@xml:lang": "fr", "#text": FRENCH}, {"@xml:lang": "zh", "#text": CHINESE}],
        {"zh-Hant": "一種帶電機的裝置", "zh-Hans": CHINESE},
        [("en", ENGLISH), ("zh", CHINESE)],  # a map of Parquet
        json.dumps({"en": ENGLISH, "zh": CHINESE}),
        str({"en": ENGLISH, "zh": CHINESE}),
        json.dumps([{"lang": "zh", "text": CHINESE}], ensure_ascii=False),
        json.dumps(CHINESE),
        [ENGLISH, CHINESE],
        {"text": CHINESE, "truncated": False},
        {"title_en": ENGLISH, "title_zh": CHINESE},
        {"p": [CHINESE]},
        {"content": {"paragraph": CHINESE}},
    ],
)
def test_chinese_is_preferred(value: object) -> None:
    assert text_of(value) == CHINESE


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([{"lang": "fr", "text": FRENCH}, {"lang": "en", "text": ENGLISH}], ENGLISH),
        ({"fr": FRENCH, "en": ENGLISH}, ENGLISH),
        ({"fr": FRENCH, "de": "Vorrichtung"}, FRENCH),
        ({"zh": "", "en": ENGLISH}, ENGLISH),
        ({"zh": None, "en": ENGLISH}, ENGLISH),
        ({"original": FRENCH, "en": ENGLISH}, ENGLISH),
        (["first", "second"], "first\nsecond"),
        ("['first', 'second']", "first\nsecond"),
        (["一", "二", ["三"]], "一\n二\n三"),
        ([{"lang": "zh", "text": "一"}, {"lang": "zh", "text": "二"}], "一\n二"),
        ({"text": ""}, ""),
        ({}, ""),
        (None, ""),
        (float("nan"), ""),
        (True, ""),
        (10000001.0, "10000001"),
        (1.5, "1.5"),
        (Decimal("10000001.0"), "10000001"),
        (Decimal("NaN"), ""),
        (b"\xe8\xa3\x85", "装"),
        (dt.date(2020, 1, 2), "2020-01-02"),
        ("[0000]   Power is delivered.", "[0000]   Power is delivered."),
        ("[1] and [2]", "[1] and [2]"),
        ('"Smart" device "X"', '"Smart" device "X"'),
        ("{x} of [y]", "{x} of [y]"),
    ],
)
def test_texts(value: object, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("code", "language"),
    [
        ("zh", "zh"),
        ("zh_CN", "zh"),
        ("CHT", "zh"),
        ("中文", "zh"),
        ("en-US", "en"),
        ("ENG", "en"),
        ("ja", "ja"),
        ("x", ""),
    ],
)
def test_languages(code: str, language: str) -> None:
    assert language_of(code) == language


@pytest.mark.parametrize(
    ("value", "date"),
    [
        (20210309, "2021-03-09"),
        (20210309.0, "2021-03-09"),
        ("20210309", "2021-03-09"),
        ("2021.3.9", "2021-03-09"),
        ("2021/03/09", "2021-03-09"),
        ("2021年3月9日", "2021-03-09"),
        ("3/9/2021", "2021-03-09"),
        ("2021-03-09T00:00:00Z", "2021-03-09"),
        (dt.datetime(2021, 3, 9, 12), "2021-03-09"),
        ({"$": "20210309"}, "2021-03-09"),
        ("20211309", None),
        ("2021", None),
        (0, None),
        (-1, None),
        (1615248000000, None),
        (None, None),
        ("nan", None),
    ],
)
def test_dates(value: object, date: str | None) -> None:
    assert date_of(value) == date


@pytest.mark.parametrize(
    "text", ["[" * 2000, "[" * 5000 + "]" * 5000, "{'a': " * 3000 + "}" * 3000, "(" * 9000 + ")" * 9000]
)
def test_deep_nesting_is_text(text: str) -> None:
    assert unfold(text) == text
    assert text_of(text) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_any_value(value: object) -> None:
    assert isinstance(text_of(value), str)
    assert all(isinstance(text, str) for text in paragraphs_of(value))
    assert date_of(value) is None or isinstance(date_of(value), str)
