"""Which patent a number means."""

from __future__ import annotations

import pytest

from patent_embed.relevance.base import Pair, Patents
from patent_embed.relevance.citations import CITATIONS, CitedRows

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


def test_a_number_that_two_patents_bear_is_nobodys() -> None:
    assert CitedRows(["CN1A", "CN-1-A", "CN2A"]).row("CN1A") is None
