"""Families and splits."""

from __future__ import annotations

import random
from collections import Counter

import pyarrow as pa
import pytest

from patent_embed.config.splits import SplitsConfig
from patent_embed.data.splits import (
    abstract_key,
    application_key,
    assign_families,
    assign_splits,
    family_keys,
    split_table,
)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("CN110450641A", "CN110450641B", True),
        ("CN202644340U", "CN202644340Y", True),
        ("US-2008173533-A1", "US-2008173533-A9", True),
        ("EP2130737A1", "EP2130737B1", True),
        ("CN110450641A", "CN110450642B", False),
        ("CN201220281304.6", "CN201220281304.7", False),  # application numbers: the last digit is a check digit
        ("CN110450641A", "CN110450641U", False),
    ],
)
def test_application_key(a: str, b: str, same: bool) -> None:
    assert (application_key(a) == application_key(b)) is same


def test_abstract_key_looks_through_typography_only() -> None:
    assert abstract_key("一种装置（1），包括 A。") == abstract_key("一种装置(1),包括a")
    assert abstract_key("一种装置（1），包括 A。") != abstract_key("一种装置（2），包括 A。")


def test_families_join_through_either_key_and_through_others() -> None:
    numbers = ["CN10000002B", "CN10000001A", "CN10000001B", "CN10000003A", "CN10000004A"]
    keys = ["x", "y", "x", "z", "w"]  # 2B = 1B by text, 1A = 1B by number
    assert assign_families(numbers, keys) == ["CN10000001A"] * 3 + ["CN10000003A", "CN10000004A"]


def test_a_family_of_the_source_is_one_of_ours() -> None:
    numbers = ["CN1A", "US2B", "US2A", "EP3A", "JP4A"]
    ids = ["57", "57", None, None, "9"]
    assert family_keys(numbers, ids) == (["family 57", "family 57", "number US2A", "number EP3A", "family 9"], 0)
    corpus = pa.table({"publication_number": numbers, "abstract": list("abcde"), "family_id": ids})
    table, unbelieved = split_table(corpus, SplitsConfig(), seed=3)
    assert table["family"].to_pylist() == ["CN1A", "CN1A", "US2A", "EP3A", "JP4A"]  # kinds need five digits
    assert unbelieved == 0


def test_an_id_does_not_join_what_looks_like_a_number() -> None:
    keys, _ = family_keys(["CN10000001A", "CN10000002A"], [None, "CN10000001A"])
    assert len(set(keys)) == 2


@pytest.mark.parametrize(
    ("patents", "sharing", "believed"), [(30, 20, True), (30, 21, False), (4000, 500, True), (4000, 501, False)]
)
def test_an_id_that_too_many_share_is_not_believed(patents: int, sharing: int, believed: bool) -> None:
    numbers = [f"CN{10_000_000 + i}A" for i in range(patents)]
    keys, unbelieved = family_keys(numbers, ["CN"] * sharing + [None] * (patents - sharing))
    assert (len(set(keys)), unbelieved) == (patents - sharing + 1 if believed else patents, int(not believed))


def test_a_family_is_in_one_split_and_shares_are_as_asked() -> None:
    numbers = [f"CN{10_000_000 + i}{kind}" for i in range(5000) for kind in "AB"]
    families = assign_families(numbers, [f"text {n}" for n in numbers])
    splits = assign_splits(families, SplitsConfig(), seed=1)
    assert all(a == b for a, b in zip(splits[::2], splits[1::2], strict=True))
    share = {split: count / len(splits) for split, count in Counter(splits).items()}
    assert share == pytest.approx({"train": 0.7, "val": 0.15, "test": 0.15}, abs=0.02)


def test_new_patents_move_no_old_one_and_order_does_not_matter() -> None:
    def table(numbers: list[str]) -> dict[str, str]:
        texts = [f"摘要 {n[:-1]} 内容" for n in numbers]
        corpus = pa.table({"publication_number": numbers, "abstract": texts, "family_id": [None] * len(numbers)})
        result, _ = split_table(corpus, SplitsConfig(), seed=3)
        return dict(zip(numbers, result["split"].to_pylist(), strict=True))

    old = [f"CN{10_000_000 + i}A" for i in range(500)]
    # Newcomers: strangers, and B publications of old applications.
    new = [*old, *(f"CN{20_000_000 + i}A" for i in range(200)), *(f"CN{10_000_000 + i}B" for i in range(0, 500, 5))]
    random.Random(0).shuffle(new)
    before, after = table(old), table(new)
    assert {number: after[number] for number in old} == before


def test_the_seed_draws_other_splits() -> None:
    families = [f"CN{i}A" for i in range(300)]
    assert assign_splits(families, SplitsConfig(), 1) != assign_splits(families, SplitsConfig(), 2)
