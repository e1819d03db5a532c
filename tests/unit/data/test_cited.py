"""Cited patents with the categories of search reports, as exports write them."""

from __future__ import annotations

from typing import Any

import pytest

from patent_embed.data.cited import category_of, citations_of, cited
from patent_embed.data.kept import Limits, kept_fields
from patent_embed.data.shapes.bigquery import BIGQUERY
from patent_embed.data.shapes.lens import LENS


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (["CN1234A", {"publication_number": "US-8024075-B2", "category": "X"}], {"CN1234A": "", "US-8024075-B2": "X"}),
        ([{"doc": "CN110000001A", "categories": ["X", "Y"]}], {"CN110000001A": "XY"}),
        ([{"文献号": "CN110000001A", "类别": "A"}], {"CN110000001A": "A"}),
        ({"X": ["CN110000001A"], "A": ["US8024075B2"]}, {"CN110000001A": "X", "US8024075B2": "A"}),
        ({"CN110000001A": "Y", "US8024075B2": ""}, {"CN110000001A": "Y", "US8024075B2": ""}),
        ("CN110000001A (X, Y); US-8024075-B2 [A]", {"CN110000001A": "XY", "US-8024075-B2": "A"}),
        ("CN110000001A（X），CN110000002A（P,A）", {"CN110000001A": "X", "CN110000002A": "PA"}),
        ("CN110000001 (A)", {"CN110000001A": ""}),  # Espacenet's way to write the kind
        ("CN110000001 (X)", {"CN110000001": "X"}),  # no kind
        (["CN1234A (A)", "CN1234A (X)", "CN1234A"], {"CN1234A": "AX"}),  # cited against several claims
        ([{"number": "CN110000001A", "category": "SEA"}], {"CN110000001A": ""}),  # a phase
        ([{"number": "CN110000001A", "category": "cited by examiner"}], {"CN110000001A": ""}),
        ([{"number": "CN110000001A", "category": "k2"}], {"CN110000001A": "K2"}),  # kept, to be counted
        ([{"number": "CN110000001A", "category": 7, "type": None}], {"CN110000001A": "7"}),
        ("none of them (X)", {}),
    ],
)  # fmt: skip
def test_numbers_with_their_categories(value: Any, right: dict[str, str]) -> None:
    assert citations_of(value) == right
    kept = kept_fields({"citations": value}, Limits(0, 0))
    assert kept.get("citations", []) == list(right)
    assert kept.get("citation_categories") == (list(right.values()) if any(right.values()) else None)


@pytest.mark.parametrize(
    ("value", "right"),
    [("xi", "XI"), ("D,X", "DX"), (["X", "XA"], "XA"), ("&", "&"), (None, ""), (["B9", "Y"], "Y"), ("APP", "")],
)  # fmt: skip
def test_letters(value: Any, right: str) -> None:
    assert category_of(value) == right


def test_offices_and_vendors() -> None:
    """BigQuery has the phase under ``category`` and the category under ``type``; The Lens has it beside the number."""
    row = [
        {"publication_number": "US-1234567-A", "category": "SEA", "type": "X"},
        {"publication_number": "JP-S6012345-A"},
    ]
    given = {"publication_number": "US-2-A", "title_localized": [], "citation": row}
    right = [{"publication_number": "US-1234567-A", "category": "X"}, "JP-S6012345-A"]
    assert BIGQUERY.record(given)["citations"] == right
    document = {"jurisdiction": "US", "doc_number": "4000001", "kind": "A"}
    cites = [{"sequence": 1, "patcit": {"document_id": document}, "cited_phase": "SEA", "category": ["Y", "A"]}]
    found = LENS.record({"lens_id": "1", "biblio": {"references_cited": {"citations": cites}}})
    assert found["citations"] == [{"publication_number": "US4000001A", "category": "YA"}]


def test_a_number_stands_there_once() -> None:
    assert cited([("A1234", "X"), ("", "Y"), ("A1234", ["Y", "SEA"]), ("B1234", None)]) == [
        {"publication_number": "A1234", "category": "XY"},
        "B1234",
    ]
