"""Which negatives a judge is asked about, and what is left without those that are answers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from patent_embed.data.schemas import NEGATIVES
from patent_embed.negatives.answers import hardest, without_answers

ROWS = [
    ("A", 0, "B", "same_main_group", 0.9),
    ("A", 1, "C", "same_subclass", 0.8),
    ("A", 2, "D", "random", 0.1),
    ("B", 0, "A", "same_main_group", 0.9),
    ("C", 0, "A", "same_subclass", 0.5),
    ("C", 1, "B", "random", 0.2),
]
REPORT = {"anchors": 4, "filtered": {"same_family": 7}, "largest_groups": [], "anchors_without_negatives": 1}


def table() -> pa.Table:
    return pa.Table.from_pylist([dict(zip(NEGATIVES.names, row, strict=True)) for row in ROWS], schema=NEGATIVES)


def test_the_nearest_of_each_query_best_first() -> None:
    query = np.array([0, 0, 0, 2, 2, 5])
    scores = np.array([0.1, 0.9, 0.5, 0.3, 0.3, -1.0])
    assert hardest(query, scores, 2).tolist() == [1, 2, 3, 4, 5]
    assert hardest(query, scores, 1).tolist() == [1, 3, 5]
    assert hardest(query[:0], scores[:0], 2).tolist() == []


def test_answers_leave_and_all_is_counted_anew() -> None:
    left = without_answers(table(), REPORT, {("A", "B"), ("B", "A"), ("C", "D")}, 3)
    assert left.table.schema == NEGATIVES
    assert [tuple(row.values())[:3] for row in left.table.to_pylist()] == [
        ("A", 0, "C"),
        ("A", 1, "D"),
        ("C", 0, "A"),
        ("C", 1, "B"),
    ]
    assert left.report == {
        "anchors": 4,
        "negatives": 4,
        "rungs": {"same_main_group": 0, "same_subclass": 2, "random": 2},
        "shortfall": {"3": 2, "1": 2},  # B has none now, as a fourth patent before
        "anchors_without_negatives": 2,
        "filtered": {"same_family": 7, "judged_answers": 2},
        "largest_groups": [],
    }


def test_without_any_answer_all_stays() -> None:
    left = without_answers(table(), REPORT, set(), 3)
    assert left.table.equals(table())
    assert left.report["filtered"]["judged_answers"] == 0
