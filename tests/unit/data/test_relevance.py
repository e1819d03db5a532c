"""The table of relevance: which pairs train, which are left out, and what is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from patent_embed.config.relevance import RelevanceConfig
from patent_embed.data.relevance import Relevance, columns_of, find_relevance
from patent_embed.data.schemas import LINKS, RELEVANCE

# D1 and D2 are one family; V is in val, T in test.
IDS = ["A", "B", "C", "D1", "D2", "T", "V"]
SPLIT = ["train"] * 5 + ["test", "val"]
CITES = {"A": ["B", "C", "V", "T"], "D1": ["D2", "B"], "T": ["A"], "V": ["C"]}
ABSTRACT = "A pump has a housing of steel. Its shaft is driven by a motor."


def found(categories: Mapping[str, list[str]] = {}, **settings: Any) -> Relevance:
    config = RelevanceConfig(**settings)
    family = ["D1" if name == "D2" else name for name in IDS]
    columns = {
        "publication_number": IDS,
        "citations": pa.array([CITES.get(name) for name in IDS], pa.list_(pa.string())),
        "citation_categories": pa.array([categories.get(name) for name in IDS], pa.list_(pa.string())),
        "abstract": [ABSTRACT] * len(IDS),
        "claims": pa.array([None] * len(IDS), pa.list_(pa.string())),
    }
    splits = pa.table({"publication_number": IDS, "family": family, "split": SPLIT})
    return find_relevance(pa.table({name: columns[name] for name in columns_of(config)}), splits, config, seed=1)


def pairs(relevance: Relevance, *, trains: bool) -> list[tuple[str, str]]:
    rows = [row for row in relevance.table.to_pylist() if row["trains"] == trains]
    return [(row["publication_number"], row["patent"]) for row in rows]


def test_links_train_only_inside_of_train_and_the_others_are_kept_for_measuring() -> None:
    relevance = found(citations=1)
    assert relevance.table.schema == RELEVANCE
    assert pairs(relevance, trains=True) == [("A", "B"), ("A", "C"), ("D1", "B")]
    assert pairs(relevance, trains=False) == [("A", "V"), ("A", "T"), ("T", "A"), ("V", "C")]
    counts = {"pairs": 7, "train": 3, "others": 2, "answer_held_out": 2, "same_family": 1}
    assert relevance.report == {"citations": counts}


def test_citations_are_links_whether_they_are_trained_on_or_not() -> None:
    links = [("A", "B"), ("A", "C"), ("A", "T"), ("A", "V"), ("B", "D1"), ("C", "V")]  # A and T cite one another once
    for relevance in (found(halves=1), found(citations=2)):
        assert relevance.links.schema == LINKS
        assert [tuple(row.values()) for row in relevance.links.to_pylist()] == links


def test_categories_are_grades_and_are_counted() -> None:
    relevance = found({"A": ["X", "A", "", "?"]}, citations=1)
    graded = {(row["publication_number"], row["patent"]): row["grade"] for row in relevance.table.to_pylist()}
    assert {pair for pair, grade in graded.items() if grade == 2} == {("A", "B")}
    counts = {"prejudicial": 1, "background": 1, "without_category": 4, "unknown_category": 1}
    report = relevance.report["citations"]
    assert {name: report[name] for name in counts} == counts
    assert sum(counts.values()) == report["pairs"] == len(graded)


def test_an_answer_of_grade_0_is_none_but_no_negative_either() -> None:
    relevance = found({"A": ["X", "A", "", "?"]}, citations=1, grade_background=0)
    assert ("A", "C") not in pairs(relevance, trains=True)
    assert relevance.report["citations"]["grade_0"] == 1
    assert relevance.links == found(citations=1).links
    assert relevance.links == found(claims=1, grade_background=0).links


def test_a_patent_asks_for_so_many_and_the_others_are_counted() -> None:
    few = found(citations=1, answers_per_patent=2)
    assert few.report["citations"]["over_limit"] == 2
    asked = [pair for trains in (True, False) for pair in pairs(few, trains=trains)]
    assert sum(asking == "A" for asking, _ in asked) == 2
    assert len(asked) == 5


def test_halves_come_of_all_splits_with_both_texts() -> None:
    rows = found(halves=0.5).table.to_pylist()
    assert len(rows) == 14
    assert {row["kind"] for row in rows} == {"passage"}
    assert all(row["query"] and row["answer"] and row["patent"] == row["publication_number"] for row in rows)
    assert {row["split"]: row["trains"] for row in rows} == {"train": True, "val": False, "test": False}


def test_without_citations_there_are_none() -> None:
    empty = found(claims=1)
    assert (len(empty.table), empty.report["claims"]["pairs"]) == (0, 0)
