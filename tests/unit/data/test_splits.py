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
    limit_splits,
    split_by_date,
    split_table,
)
from patent_embed.errors import UserError


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
    found = assign_families(pa.array(numbers), pa.array(keys))
    assert found.to_pylist() == ["CN10000001A"] * 3 + ["CN10000003A", "CN10000004A"]


def test_a_family_of_the_source_is_one_of_ours() -> None:
    numbers = ["CN1A", "US2B", "US2A", "EP3A", "JP4A"]
    ids = ["57", "57", None, None, "9"]
    keys, wrong = family_keys(pa.array(numbers), pa.array(ids))
    assert (keys.to_pylist(), wrong) == (["family 57", "family 57", "number US2A", "number EP3A", "family 9"], 0)
    corpus = pa.table({"publication_number": numbers, "abstract": list("abcde"), "family_id": ids})
    table, unbelieved, _ = split_table(corpus, SplitsConfig(), seed=3)
    assert table["family"].to_pylist() == ["CN1A", "CN1A", "US2A", "EP3A", "JP4A"]  # kinds need five digits
    assert unbelieved == 0


def test_an_id_does_not_join_what_looks_like_a_number() -> None:
    keys, _ = family_keys(pa.array(["CN10000001A", "CN10000002A"]), pa.array([None, "CN10000001A"]))
    assert len(keys.unique()) == 2


@pytest.mark.parametrize(
    ("patents", "sharing", "believed"), [(30, 20, True), (30, 21, False), (4000, 500, True), (4000, 501, False)]
)
def test_an_id_that_too_many_share_is_not_believed(patents: int, sharing: int, believed: bool) -> None:
    numbers = [f"CN{10_000_000 + i}A" for i in range(patents)]
    keys, unbelieved = family_keys(pa.array(numbers), pa.array(["CN"] * sharing + [None] * (patents - sharing)))
    assert (len(keys.unique()), unbelieved) == (patents - sharing + 1 if believed else patents, int(not believed))


def test_a_family_is_in_one_split_and_shares_are_as_asked() -> None:
    numbers = [f"CN{10_000_000 + i}{kind}" for i in range(5000) for kind in "AB"]
    families = assign_families(pa.array(numbers), pa.array([f"text {n}" for n in numbers]))
    splits = assign_splits(families, SplitsConfig(), seed=1).to_pylist()
    assert all(a == b for a, b in zip(splits[::2], splits[1::2], strict=True))
    share = {split: count / len(splits) for split, count in Counter(splits).items()}
    assert share == pytest.approx({"train": 0.7, "val": 0.15, "test": 0.15}, abs=0.02)


def test_new_patents_move_no_old_one_and_order_does_not_matter() -> None:
    def table(numbers: list[str]) -> dict[str, str]:
        texts = [f"摘要 {n[:-1]} 内容" for n in numbers]
        corpus = pa.table({"publication_number": numbers, "abstract": texts, "family_id": [None] * len(numbers)})
        result, *_ = split_table(corpus, SplitsConfig(), seed=3)
        return dict(zip(numbers, result["split"].to_pylist(), strict=True))

    old = [f"CN{10_000_000 + i}A" for i in range(500)]
    # Newcomers: strangers, and B publications of old applications.
    new = [*old, *(f"CN{20_000_000 + i}A" for i in range(200)), *(f"CN{10_000_000 + i}B" for i in range(0, 500, 5))]
    random.Random(0).shuffle(new)
    before, after = table(old), table(new)
    assert {number: after[number] for number in old} == before


def test_the_seed_draws_other_splits() -> None:
    families = pa.array([f"CN{i}A" for i in range(300)])
    assert assign_splits(families, SplitsConfig(), 1) != assign_splits(families, SplitsConfig(), 2)


def limited(numbers: list[str], most: int) -> tuple[dict[str, str], dict[str, int]]:
    corpus = pa.table({"publication_number": numbers, "abstract": numbers, "family_id": pa.nulls(len(numbers))})
    table, _, above = split_table(corpus, SplitsConfig(max_val=most, max_test=2 * most), seed=3)
    return dict(zip(numbers, table["split"].to_pylist(), strict=True)), above


def test_val_and_test_are_so_large_at_most_and_the_rest_is_trained_on() -> None:
    numbers = [f"CN{10_000_000 + i}A" for i in range(1000)]
    whole, none_above = limited(numbers, 1000)
    few, above = limited(numbers, 30)
    assert none_above == {}
    assert Counter(few.values()) == {"train": 910, "val": 30, "test": 60}
    sizes = Counter(whole.values())
    assert above == {"val": sizes["val"] - 30, "test": sizes["test"] - 60}
    assert all(few[number] in (split, "train") for number, split in whole.items())
    assert limited(numbers[::-1], 30)[0] == few


def test_limits_that_are_not_reached_change_nothing() -> None:
    families = pa.array([f"CN{i}A" for i in range(400)])
    drawn = assign_splits(families, SplitsConfig(), 1)
    sizes = Counter(drawn.to_pylist())
    for most in ({}, {"max_val": None, "max_test": None}, {"max_val": sizes["val"], "max_test": sizes["test"]}):
        assert limit_splits(families, drawn, SplitsConfig(**most), 1) == drawn


def test_a_full_split_gives_to_train_and_takes_nothing_from_it() -> None:
    old = [f"CN{10_000_000 + i}A" for i in range(1000)]
    before, _ = limited(old, 30)
    after, _ = limited([*old, *(f"CN{20_000_000 + i}A" for i in range(500))], 30)
    moved = {(before[number], after[number]) for number in old if before[number] != after[number]}
    assert moved == {("val", "train"), ("test", "train")}
    assert list(after.values()).count("val") == 30


def test_a_limit_keeps_families_whole_and_leaves_one() -> None:
    families = pa.array([f"CN{i}A" for i in range(300) for _ in range(4)])
    drawn = assign_splits(families, SplitsConfig(), 1)
    found = limit_splits(families, drawn, SplitsConfig(max_val=10, max_test=3), 1).to_pylist()
    assert Counter(found) == {"train": 1188, "val": 8, "test": 4}
    assert all(len({found[i + j] for j in range(4)}) == 1 for i in range(0, 1200, 4))


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        ({}, "train 4, val 2, test 2"),
        ({"max_test": 1}, "train 4, val 3, test 1"),
        ({"max_val": 1, "max_test": 1}, "train 6, val 1, test 1"),
        ({"max_val": 1}, "train 5, val 1, test 2"),
        ({"max_val": 9, "max_test": 9}, "train 4, val 2, test 2"),
    ],
)
def test_by_date_a_limit_moves_where_a_split_begins(most: dict[str, int], expected: str) -> None:
    families, dates = list("ABCDEFGH"), [f"2010-01-0{day}" for day in range(1, 9)]
    config = SplitsConfig(train=0.5, val=0.25, test=0.25, by="date", **({"max_val": None, "max_test": None} | most))
    found = split_by_date(families, dates, config)
    assert ", ".join(f"{split} {found.count(split)}" for split in ("train", "val", "test")) == expected
    assert found == sorted(found, key=["train", "val", "test"].index)


def test_by_date_a_split_has_one_day_at_least() -> None:
    families, dates = list("ABCDEFGH"), [f"2010-01-0{day}" for day in (1, 1, 1, 1, 2, 2, 3, 3)]
    config = SplitsConfig(train=0.5, val=0.25, test=0.25, by="date", max_val=1, max_test=1)
    assert split_by_date(families, dates, config) == ["train"] * 4 + ["val"] * 2 + ["test"] * 2


DATED = SplitsConfig(train=0.5, val=0.25, test=0.25, by="date")


def test_by_date_the_past_is_trained_on_and_the_last_are_tested() -> None:
    families = ["A", "B", "C", "D", "E", "F", "G", "H"]
    dates: list[str | None] = [f"20{year}-01-01" for year in (15, 10, 12, 19, 11, 18, 17, 14)]
    assert split_by_date(families, dates, DATED) == ["val", "train", "train", "test", "train", "test", "val", "train"]


def test_a_family_has_the_date_of_its_first_publication_and_a_day_is_in_one_split() -> None:
    families = ["A", "B", "B", "C", "D", "E", "F", "G"]
    dates = [
        "2010-01-01",
        "2011-01-01",
        "2020-01-01",
        "2012-01-01",
        "2012-01-01",
        "2018-01-01",
        "2018-01-01",
        "2019-01-01",
    ]
    found = split_by_date(families, dates, DATED)
    assert found == ["train"] * 3 + ["train", "train", "val", "val", "test"]  # C and D: the day begins below one half


def test_what_has_no_date_is_trained_on() -> None:
    families, dates = ["A", "B", "C", "D"], [None, None, "2011-01-01", "2012-01-01"]
    assert split_by_date(families, dates, DATED) == ["train", "train", "val", "test"]


@pytest.mark.parametrize("dates", [[None] * 4, ["2012-01-01"] * 4])
def test_dates_that_leave_a_split_empty_are_refused(dates: list[str | None]) -> None:
    with pytest.raises(UserError, match=r"leaves val and test without a patent.*set splits\.by=hash"):
        split_by_date(["A", "B", "C", "D"], dates, DATED)


def test_a_table_is_split_as_its_setting_says() -> None:
    numbers = [f"CN{i}A" for i in range(40)]
    columns = {"publication_number": numbers, "abstract": numbers, "family_id": pa.nulls(40, pa.string())}
    corpus = pa.table(columns | {"publication_date": [f"20{40 - i:02}-06-01" for i in range(40)]})
    by_date, *_ = split_table(corpus, SplitsConfig(by="date"), seed=1)
    assert by_date["split"].to_pylist() == ["test"] * 6 + ["val"] * 6 + ["train"] * 28
    assert split_table(corpus, SplitsConfig(), seed=1)[0] != by_date
