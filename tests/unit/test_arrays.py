"""Ragged arrays against plain loops over lists."""

from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.arrays import (
    Strings,
    changes,
    grouped,
    inverse_of,
    let_go,
    matches,
    numbered,
    owners_of,
    pieces_within,
    places_in,
    ranges_of,
    rows_of,
    starts_of,
)

LENGTHS = st.lists(st.integers(0, 5), max_size=12)
NUMBERS = st.lists(st.integers(0, 6), max_size=20)
NAMES = st.lists(st.sampled_from(["甲", "乙", "b", "", "ab"]), max_size=12)
INTEGERS = st.sampled_from([np.int32, np.int64])


@given(LENGTHS, INTEGERS)
def test_groups_lie_behind_one_another(lengths: list[int], kind: type) -> None:
    array = np.array(lengths, kind)
    flat = [(group, place) for group, length in enumerate(lengths) for place in range(length)]
    starts = starts_of(array)
    assert starts.tolist() == [sum(lengths[:group]) for group in range(len(lengths) + 1)]
    assert owners_of(array).tolist() == [group for group, _ in flat]
    assert places_in(array).tolist() == [place for _, place in flat]
    assert {starts.dtype, owners_of(array).dtype, places_in(array).dtype} == {np.dtype(np.int64)}


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4)), max_size=12), INTEGERS)
def test_ranges_may_overlap_and_be_empty(ranges: list[tuple[int, int]], kind: type) -> None:
    starts, lengths = np.array(ranges, kind).reshape(-1, 2).T
    expected = [place for start, length in ranges for place in range(start, start + length)]
    assert ranges_of(starts, lengths).tolist() == expected


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 1)), max_size=20))
def test_a_run_begins_where_any_column_changes(rows: list[tuple[int, int, int]]) -> None:
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    for count in (1, 2, 3):
        expected = [at == 0 or rows[at][:count] != rows[at - 1][:count] for at in range(len(rows))]
        assert changes(*columns[:count]).tolist() == expected


@given(NUMBERS, st.sampled_from([np.int32, np.int64, np.uint16]))
def test_grouped_keeps_the_order_inside_a_group(group: list[int], kind: type) -> None:
    order, starts = grouped(np.array(group, kind), 8)
    assert len(starts) == 9
    for number in range(8):
        mine = order[starts[number] : starts[number + 1]].tolist()
        assert mine == [place for place, value in enumerate(group) if value == number]


@given(NUMBERS, NUMBERS)
def test_matches_are_the_pairs_of_two_loops(wanted: list[int], keys: list[int]) -> None:
    keys = sorted(keys)
    first, second = matches(np.array(wanted, np.int64), np.array(keys, np.int64))
    expected = [(i, j) for i, one in enumerate(wanted) for j, other in enumerate(keys) if one == other]
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == expected


@given(st.permutations(range(9)))
def test_the_inverse_undoes_a_permutation(order: list[int]) -> None:
    inverse = inverse_of(np.array(order))
    assert [inverse[number] for number in order] == list(range(9))
    assert inverse_of(np.zeros(0, np.int64)).tolist() == []


@given(st.lists(st.integers(0, 12), max_size=15), st.integers(1, 12))
def test_pieces_are_as_long_as_the_limit_allows(weights: list[int], limit: int) -> None:
    pieces = list(pieces_within(np.array(weights, np.int64), limit))
    expected: list[list[int]] = []
    for place, weight in enumerate(weights):
        if expected and sum(weights[at] for at in expected[-1]) + weight <= limit:
            expected[-1].append(place)
        else:
            expected.append([place])
    assert [list(range(piece.start, piece.stop)) for piece in pieces] == expected


@given(NAMES, NAMES)
def test_names_are_numbered_by_first_appearance(one: list[str], other: list[str]) -> None:
    names = one + other
    expected = [list(dict.fromkeys(names)).index(name) for name in names]
    array = pa.array(names, pa.string())
    for column in (
        array,
        pa.chunked_array([pa.array(part, pa.string()) for part in (one, other)]),
        pa.chunked_array([array]),
    ):
        numbers, distinct = numbered(column)
        assert (numbers.tolist(), numbers.dtype) == (expected, np.int32)
        assert distinct.to_pylist() == list(dict.fromkeys(names))
    assert numbered(pa.chunked_array([], pa.string()))[0].tolist() == []


def test_rows_of_ids_and_an_id_that_is_not_there() -> None:
    corpus = pa.chunked_array([["a", "c"], ["b"]])
    rows = rows_of(pa.chunked_array([["b"], ["a", "b"]]), corpus)
    assert (rows.tolist(), rows.dtype) == ([2, 0, 2], np.int64)
    with pytest.raises(ValueError, match="2 ids are not in the corpus, 'x' among them"):
        rows_of(pa.chunked_array([["a", "x", "y"]]), corpus)


def test_a_map_is_let_go_and_can_be_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((1 << 13, 512), np.float32))  # 16 MiB
    mapped, process = np.load(tmp_path / "a.npy", mmap_mode="r"), psutil.Process()
    assert mapped.sum() == 1 << 22
    held = process.memory_info().rss
    let_go(mapped[5:])
    assert process.memory_info().rss < held - (15 << 20)
    assert mapped.sum() == 1 << 22
    let_go(np.ones(3))


def test_strings_of_some_rows_are_a_sequence() -> None:
    column = pa.chunked_array([["a", "b"], [], ["c", "d"]])
    found = Strings(column, np.array([3, 0, 2]))
    assert (len(found), found[0], found[-1], found[1:], list(found)) == (3, "d", "c", ["a", "c"], ["d", "a", "c"])
    assert list(Strings(column, np.zeros(0, np.int64))) == []
