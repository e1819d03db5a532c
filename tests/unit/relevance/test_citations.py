"""Which patent a number means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patent_embed.relevance.base import Pair, Patents
from patent_embed.relevance.citations import CITATIONS, CitationSettings, CitedRows, label_of

NUMBERS = ["CN110000001A", "CN110000001B", "US-2001033243-A1", "US7654321B2", "EP1234567A1"]


@pytest.mark.parametrize(
    ("cited", "row"),
    [
        ("CN110000001B", 1),
        ("CN110000001", None),  # two publications: which one is not known
        ("US2001033243A1", 2),
        ("us 2001/033243", 2),
        ("US7654321", 3),
        ("EP-1234567-B1", 4),  # another publication of the same application
        ("US999", None),
        ("", None),
    ],
)
def test_numbers_are_known_however_they_are_written(cited: str, row: int | None) -> None:
    assert CitedRows(NUMBERS).row(cited) == row


def test_a_patent_asks_for_each_that_it_cites_once_and_never_for_itself() -> None:
    cited = [None, [], ["US7654321B2", "US-7654321-B2", "US2001033243A1", "EP1234567"], [], None]
    assert list(CITATIONS.pairs(Patents(NUMBERS, {"citations": cited}))) == [Pair(2, 3), Pair(2, 4)]


CITED = [
    None,
    [],
    ["US7654321B2", "US-7654321-B2", "US2001033243A1", "EP1234567", "CN110000001A"],
    [],
    ["CN110000001A"],
]
CATEGORIES = [None, None, ["A", "X", "", "K2", "A"], None, None]


def test_categories_grade() -> None:
    given = Patents(NUMBERS, {"citations": CITED, "citation_categories": CATEGORIES})
    assert list(CITATIONS.pairs(given)) == [
        Pair(2, 3, grade=2.0, label="prejudicial"),  # under one number A, under the other X
        Pair(2, 4, label="unknown_category"),
        Pair(2, 0, label="background"),
        Pair(4, 0, label="without_category"),
    ]
    told = CitationSettings(grade_prejudicial=5, grade_background=0, grade_uncategorized=0.5)
    assert [pair.grade for pair in CITATIONS.pairs(replace(given, settings=told))] == [5, 0.5, 0, 0.5]


@pytest.mark.parametrize(
    ("category", "label"),
    [
        ("X", "prejudicial"),
        ("DY", "prejudicial"),
        ("I", "prejudicial"),
        ("PA", "background"),
        ("&", "background"),
        ("", "without_category"),
        ("7", "unknown_category"),
        ("XZ", "unknown_category"),
    ],
)
def test_labels(category: str, label: str) -> None:
    assert label_of(category) == label


def test_a_number_that_two_patents_bear_is_nobodys() -> None:
    assert CitedRows(["CN1A", "CN-1-A", "CN2A"]).row("CN1A") is None
