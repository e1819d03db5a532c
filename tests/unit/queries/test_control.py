"""Planted pairs, and what a judge's grades of them say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest

from patent_embed.config.judge import JudgeConfig
from patent_embed.data import sample
from patent_embed.queries.asking import Patent
from patent_embed.queries.control import Control, Pair, Planted, control_in, planted
from tests.judges import shared

CONFIG = JudgeConfig()


def tables(rows: list[dict[str, Any]]) -> tuple[pa.Table, pa.Table]:
    corpus = pa.Table.from_pylist([{"language": "zh"} | row for row in rows])
    families = [row.get("family", row["publication_number"]) for row in rows]
    return corpus, pa.table({"publication_number": corpus["publication_number"], "family": families})


def records(count: int) -> list[dict[str, Any]]:
    names = ("publication_number", "title", "abstract")
    return [
        {name: item[name] for name in names} | {"codes": [each["code"] for each in item["classifications"]]}
        for item in list(sample.generate(2 * count, seed=3))[::2]
    ]


def test_relevant_pairs_are_of_families_first_and_unrelated_ones_share_no_section() -> None:
    rows = records(120)
    for place in range(0, 8, 2):  # four families of two, whose members say it in other words
        rows[place]["family"] = rows[place + 1]["family"] = f"F{place}"
        rows[place + 1] |= {"codes": rows[place]["codes"], "abstract": rows[place]["abstract"].replace("包括", "含有")}
    rows[9] |= {"family": "F9", "abstract": rows[8]["abstract"]}  # of one text: that shows nothing
    rows[8]["family"] = "F9"
    corpus, splits = tables(rows)
    found = planted(corpus, splits, 60, seed=1)
    assert (len(found.relevant), len(found.unrelated), found.families) == (30, 30, 4)
    by_number = {row["publication_number"]: row for row in rows}
    of_family = {pair.patent.number for pair in found.relevant[:4]}
    assert {by_number[number]["family"] for number in of_family} == {"F0", "F2", "F4", "F6"}
    lifted = [shared(pair.query, pair.patent.abstract) for pair in found.relevant]
    assert min(lifted) > 0.35 > max(shared(pair.query, pair.patent.abstract) for pair in found.unrelated)
    asking = {row["abstract"]: row for row in rows}
    for pair in found.unrelated:
        best = max(asking, key=lambda text: shared(pair.query, text))
        sections = [{code[0] for code in row["codes"]} for row in (asking[best], by_number[pair.patent.number])]
        assert not sections[0] & sections[1]


def test_they_do_not_depend_on_the_order_of_rows_and_do_on_the_seed() -> None:
    corpus, splits = tables(records(80))
    first = planted(corpus, splits, 40, seed=1)
    turned = pa.array(list(reversed(range(80))))
    assert planted(corpus.take(turned), splits, 40, seed=1) == first
    assert planted(corpus, splits, 40, seed=2) != first


def test_a_corpus_of_one_section_has_no_unrelated_pairs_and_is_no_control() -> None:
    rows = [row | {"codes": ["G06T3/40"]} for row in records(40)]
    found = planted(*tables(rows), 60, seed=1)
    assert (len(found.relevant), len(found.unrelated)) == (30, 0)
    control = Control.of(found, [3] * 30, 2)
    assert "only 30 relevant and 0 unrelated pairs can be planted" in control.shortcoming(CONFIG)


def graded(relevant: Sequence[int | None], unrelated: Sequence[int | None]) -> Control:
    pair = Pair("q", Patent("A", "", "", "zh"))
    known = Planted([pair] * len(relevant), [pair] * len(unrelated), 0)
    return Control.of(known, [*relevant, *unrelated], 2)


@pytest.mark.parametrize(
    ("relevant", "unrelated", "precision", "recall", "why"),
    [
        ([3] * 18 + [1] * 2, [0] * 19 + [2], 18 / 19, 0.9, ""),
        ([3] * 20, [3] * 20, 0.5, 1.0, "precision 0.50 is below"),  # it likes all
        ([0] * 20, [0] * 20, 0.0, 0.0, "precision 0.00 is below"),  # it likes none
        ([3, 2, 1, 0] * 5, [3, 2, 1, 0] * 5, 0.5, 0.5, "precision 0.50 is below"),  # it throws dice
        (
            [3] * 13 + [None] * 7,
            [0] * 20,
            1.0,
            0.65,
            "recall 0.65 is below",
        ),  # ungraded is not found
        ([3] * 20, [2] + [0] * 9, 1 / 1.1, 1.0, ""),  # half as many unrelated: each counts twice
        ([3] * 9, [0] * 50, 1.0, 1.0, "only 9 relevant and 50 unrelated"),
    ],
)
def test_the_bar(
    relevant: list[int | None], unrelated: list[int | None], precision: float, recall: float, why: str
) -> None:
    control = graded(relevant, unrelated)
    assert (control.precision, control.recall) == pytest.approx((precision, recall))
    assert control.shortcoming(CONFIG).startswith(why)
    assert bool(control.shortcoming(CONFIG)) == bool(why)
    assert control_in(control.report()) == control


def test_what_is_said_has_its_counts() -> None:
    assert graded([3] * 18 + [None] * 2, [0] * 19 + [2]).line() == (
        "precision 0.95, recall 0.90 (called answers: 18 of 20 planted relevant pairs, none of them of families, and 1 "
        "of 20 unrelated ones)"
    )
