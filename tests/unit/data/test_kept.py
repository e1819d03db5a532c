"""What is kept of a patent beside what is searched."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.fields import CANONICAL
from patent_embed.data.kept import Limits, kept_fields
from tests.unit.data.test_values import JSON

LIMITS = Limits(claims=40, description=20)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("claims", ["1. A tool.", "2. The tool."], ["1. A tool.", "2. The tool."]),
        ("claims", "1. A tool.\n2. The tool of claim 1.", ["1. A tool.", "2. The tool of claim 1."]),
        ("claims", {"zh": ["一种装置。"], "en": ["A tool."]}, ["一种装置。"]),
        ("claims", "<claim>A <b>tool</b>.</claim>", ["A tool."]),
        ("claims", ["x" * 50, "y"], ["x" * 40]),  # the first at least in part
        ("claims", ["x" * 30, "y" * 20, "z"], ["x" * 30]),
        ("description", ["one", "two"], "one\ntwo"),
        ("description", "x" * 50, "x" * 20),
        ("citations", ["CN1234A", "US-8024075-B2", 7384619, None], ["CN1234A", "US-8024075-B2", "7384619"]),
        ("citations", "US-4668494-A; CN110000001A", ["US-4668494-A", "CN110000001A"]),
        ("citations", "['US-4668494-A', 'US-4668494-A']", ["US-4668494-A"]),
        ("citations", [{"publication_number": "US-4668494-A", "category": "X"}], ["US-4668494-A"]),
        ("citations", 0, None),
        ("citations", "none of them", None),
        ("family_id", 40720591, "40720591"),
        ("family_id", "-1", None),  # BigQuery's for none
        ("family_id", ["a", "b"], None),
        ("publication_date", 20110920, "2011-09-20"),
        ("applicants", "甲公司;乙公司；甲公司", ["甲公司", "乙公司"]),
        ("applicants", [{"name": "A Corp"}, {"name": "B &amp; C"}], ["A Corp", "B & C"]),
        ("applicants", float("nan"), None),
    ],
)
def test_fields(field: str, value: object, kept: object) -> None:
    assert kept_fields({field: value}, LIMITS).get(field) == kept


def test_nothing_is_kept_where_nothing_is_wanted() -> None:
    assert kept_fields({"claims": "A tool.", "description": "A tool."}, Limits(0, 0)) == {}


@given(st.dictionaries(st.sampled_from(CANONICAL), JSON))
def test_any_values(values: dict[str, Any]) -> None:
    for name, kept in kept_fields(values, LIMITS).items():
        assert isinstance(kept, list if name in ("claims", "citations", "applicants") else str)
