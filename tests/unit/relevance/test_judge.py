"""What a judge found becomes pairs, and links whether they are trained on or not."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from patent_embed.config.relevance import RelevanceConfig
from patent_embed.config.settings import Config
from patent_embed.data.relevance import Relevance, columns_of, find_relevance
from patent_embed.relevance.base import GRADED

IDS = ["A", "B", "C", "V"]
ANSWERS: list[list[dict[str, Any]]] = [
    [{"query": "一泵", "patent": "B", "grade": 3}, {"query": "二泵", "patent": "C", "grade": 2}],
    [],
    [],
    [{"query": "三泵", "patent": "C", "grade": 2}],
]


def found(**settings: Any) -> Relevance:
    config = RelevanceConfig(**settings)
    assert GRADED not in columns_of(config)
    corpus = pa.table(
        {
            "publication_number": IDS,
            "citations": pa.array([None] * 4, pa.list_(pa.string())),
            "abstract": ["一种泵。它有轴。"] * 4,
            GRADED: ANSWERS,
        }
    )
    splits = pa.table({"publication_number": IDS, "family": IDS, "split": ["train"] * 3 + ["val"]})
    return find_relevance(corpus, splits, config, seed=1)


def test_answers_are_graded_pairs_of_queries() -> None:
    relevance = found(judge=1)
    rows = [
        (row["query"], row["kind"], row["patent"], round(row["grade"], 3), row["trains"])
        for row in relevance.table.to_pylist()
    ]
    assert rows == [
        ("一泵", "query", "B", 1.0, True),
        ("二泵", "query", "C", 0.667, True),
        ("三泵", "query", "C", 0.667, False),  # val asks: it is measured on, and never trained on
    ]
    assert relevance.report["judge"] == {
        "pairs": 3,
        "train": 2,
        "others": 1,
        "answer_held_out": 0,
        "same_family": 0,
    }


def test_they_are_no_negatives_of_one_another_whether_they_are_trained_on_or_not() -> None:
    for relevance in (found(judge=1), found()):
        assert [tuple(row.values()) for row in relevance.links.to_pylist()] == [("A", "B"), ("A", "C"), ("C", "V")]
    assert not len(found().table)


def test_a_training_is_told_of_them_where_its_loss_takes_negatives_from_a_batch() -> None:
    judge = {"backend": "api", "judge": {"enabled": True}}
    assert Config(queries=judge, training={"loss": "infonce"}).relations_are_known
    assert not Config(queries=judge, training={"loss": "triplet"}).relations_are_known
    assert not Config(training={"loss": "infonce"}).relations_are_known
    with pytest.raises(ValueError, match=r"relevance\.judge is 1, and no judge is asked"):
        Config(relevance={"judge": 1}, training={"loss": "infonce"})
