"""Bands of rank by words alone, and queries that are asked for once more until the bands are as they shall be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.config.mix import OverlapConfig
from patent_embed.config.queries import QueriesConfig
from patent_embed.folders import folder_at
from patent_embed.queries.asking import Asking, Request
from patent_embed.queries.overlap import BANDS, band_of, in_bands, too_many
from patent_embed.queries.store import Answer, QueryStore
from patent_embed.queries.writing import write_queries
from tests.unit.queries.test_writing import Model, corpus


def test_bands() -> None:
    ranks = (1, 2, 10, 11, 100, 101, 0)
    assert [band_of(rank) for rank in ranks] == ["first", *["2-10"] * 2, *["11-100"] * 2, *["beyond"] * 2]


@given(
    ranks=st.lists(st.integers(0, 200), max_size=60),
    target=st.dictionaries(st.sampled_from(BANDS), st.floats(0.1, 9), min_size=1),
)
def test_what_is_taken_out_of_a_band_is_what_it_has_too_much(ranks: list[int], target: dict[str, float]) -> None:
    numbers = [f"CN{i}A" for i in range(len(ranks))]
    chosen = too_many(numbers, ranks, target, 1)
    counts, total = Counter(map(band_of, ranks)), sum(target.values())
    taken = Counter(band_of(ranks[place]) for place in chosen)
    for band in BANDS:
        wanted = len(ranks) * target.get(band, 0) / total
        assert taken[band] <= max(0, counts[band] - wanted) + 1e-6
        assert counts[band] - taken[band] < wanted + 1 + 1e-6
    assert all(harder for place, harder in chosen.items() if band_of(ranks[place]) == "first")
    assert not any(harder for place, harder in chosen.items() if band_of(ranks[place]) == "beyond")


def steered(folder: Path, table: pa.Table, refuse: bool = False) -> tuple[list[Request], dict[str, object], pa.Table]:
    """Queries of a model whose ranks are what it was asked for: first, unless it was asked for a harder one."""
    config = QueriesConfig(backend="api", overlap=OverlapConfig(target={"first": 0.5, "11-100": 0.5}))
    asked: list[Request] = []

    def backend(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        asked.extend(requests)
        for request in requests:
            query = json.loads(Model().good(request))["query"]
            if request.style.difficulty:
                query = request.patent.abstract[:40] if refuse else query.replace("要一种", "求一个")
            yield [Answer(request.key, query, "", 100, 10)]

    def ranks(numbers: Sequence[str], queries: Sequence[str]) -> list[int]:
        return [50 if query.startswith("求一个") else 1 for query in queries]

    asking = Asking("m", config, 1)
    store = QueryStore(folder_at(folder))
    written = write_queries(table, asking, {}, backend, store, ranks=ranks)
    return asked, written.report, written.table


def test_queries_of_a_band_that_is_too_full_are_asked_for_once_more(tmp_path: Path) -> None:
    asked, report, table = steered(tmp_path, corpus(40))
    again = [request for request in asked if request.attempt]
    assert len(again) == 20
    assert {request.style.difficulty for request in again} == {"paraphrases"}
    assert report["overlap"] == {"first": 20, "2-10": 0, "11-100": 20, "beyond": 0}
    assert report["overlap_by_difficulty"]["paraphrases"]["11-100"] == 20  # type: ignore[index]
    assert report["sources"] == {"api": 40}
    asked, _, same = steered(tmp_path, corpus(40))
    assert not asked
    assert same.equals(table)


def test_what_cannot_be_replaced_stays(tmp_path: Path) -> None:
    asked, report, table = steered(tmp_path, corpus(40), refuse=True)
    assert len(asked) == 60
    assert report["sources"] == {"api": 40}
    assert report["overlap"] == {"first": 40, "2-10": 0, "11-100": 0, "beyond": 0}
    assert set(table["note"].to_pylist()) == {""}


def test_bands_are_counted() -> None:
    assert in_bands([1, 1, 5, 0]) == {"first": 2, "2-10": 1, "11-100": 0, "beyond": 1}
