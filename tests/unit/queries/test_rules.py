"""Queries by rule and from a cache: what they say, what they never are, and that the counts add up."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.config.queries import QueriesConfig
from patent_embed.data import sample
from patent_embed.data.schemas import QUERIES
from patent_embed.queries.rules import KINDS, LATIN_FACTOR, aspects, build_queries, clean, rule_query
from patent_embed.text import plain
from tests.unit.queries.files import write_cache

TITLE = "一种肥料搅拌装置及其使用方法"
ABSTRACT = (
    "本实用新型公开了一种肥料搅拌装置（10），包括罐体1、转轴(2)和桨叶3，所述罐体1的内壁上设有导流板4。"
    "解决了现有技术中肥料受潮结块的问题，能够避免颗粒粘壁，提高混合均匀度，结构简单，成本低。"
)


def corpus(records: list[dict[str, object]]) -> pa.Table:
    rows = [
        {name: item[name] for name in ("publication_number", "title", "abstract")}
        | {"language": item.get("language", "zh")}
        for item in records
    ]
    return pa.Table.from_pylist(rows)


def test_aspects_of_an_abstract() -> None:
    found = aspects(TITLE, ABSTRACT)
    assert found.problem == "肥料受潮结块"
    assert found.effects == ("避免颗粒粘壁", "提高混合均匀度")  # not "结构简单", not "成本低"
    assert found.thing == "肥料搅拌装置"
    assert found.state == "罐体的内壁上设有导流板"
    assert found.parts == "罐体、转轴、桨叶"


def test_numerals_and_stock_openings_go_and_quantities_stay() -> None:
    text = clean("本发明涉及一种泵(1)，壳体2内的叶轮（3、4）转速为300转，温度降低90%，间隙为5毫米，由3个腔组成。")
    assert text == "泵，壳体内的叶轮转速为300转，温度降低90%，间隙为5毫米，由3个腔组成。"


def test_the_query_asks_for_problem_or_effect() -> None:
    queries = {rule_query(TITLE, ABSTRACT, "zh", seed)[0] for seed in range(40)}
    assert "如何解决肥料受潮结块的问题？" in queries
    assert "什么样的肥料搅拌装置能够避免颗粒粘壁，并提高混合均匀度？" in queries
    assert len(queries) >= 4
    assert not any("本实用新型" in query or "所述" in query or "结构简单" in query for query in queries)


@pytest.mark.parametrize(
    ("title", "abstract"),
    [
        ("水杯", "水杯水杯水杯水杯水杯水杯水杯水杯水杯水杯。"),
        ("一种水杯", "一种水杯。"),
        ("水杯有哪些技术方案", "一二三四五六七八九十一二三四五六七八九十"),
    ],
)
def test_without_anything_to_say_the_title_helps_but_is_never_the_query(title: str, abstract: str) -> None:
    query, kind, note = rule_query(title, abstract, "zh", 0)
    assert plain(query) != plain(title)
    assert (kind, note) in {("question", "title_only"), ("claim", "structure_only")}


def test_english() -> None:
    title = "Valve for cryogenic tanks"
    abstract = (
        "The present invention discloses a valve comprising a body (12) and an elongated neck, thereby preventing ice "
        "formation at the stem packing. A drip plate reduces heat flow."
    )
    queries = {rule_query(title, abstract, "en", seed) for seed in range(20)}
    assert ("valve to prevent ice formation at the stem packing", "claim", "") in queries
    assert ("how can a valve prevent ice formation at the stem packing?", "question", "") in queries
    plainer = rule_query(title, "A valve comprising a body and an elongated neck with a drip plate.", "en", 0)
    assert plainer == ("valve with a body and an elongated neck with a drip plate", "claim", "structure_only")


def test_other_languages_get_their_own_words() -> None:
    query, kind, note = rule_query("攪拌裝置", "ロータの回転によって混合する装置である。", "other", 0)
    assert (kind, note) == ("keywords", "other_language")
    assert "ロータ" in query


TEXT = st.text(alphabet="一种肥料搅拌装置，。；、提高避免的了和本发明所述包括设有(1)（2） abc19\u0000\n", max_size=400)


@given(title=TEXT.filter(lambda text: bool(plain(text))), abstract=TEXT, seed=st.integers(0, 2**32))
@pytest.mark.parametrize("language", ["zh", "en", "other"])
def test_any_text_gives_a_query_within_bounds(language: str, title: str, abstract: str, seed: int) -> None:
    query, kind, _ = rule_query(title, abstract, language, seed, max_chars=40)
    assert query == rule_query(title, abstract, language, seed, max_chars=40)[0]
    assert query.strip()
    assert kind in KINDS
    assert len(query) <= 40 * (1 if language == "zh" else LATIN_FACTOR)
    assert plain(query) != plain(title) or language == "other"


def test_real_patents(shared_data: Path) -> None:
    with gzip.open(shared_data / "patents-zh-5753.jsonl.gz") as file:
        records = [json.loads(line) for line in file]
    rule_query(TITLE, ABSTRACT, "zh", 0)  # loads the word list
    started = time.process_time()
    table, report = build_queries(corpus(records), QueriesConfig(), None, 42)
    assert time.process_time() - started < 6  # 1.5 s on an idle core
    assert len(table) == len(records)
    titles = {item["publication_number"]: plain(item["title"]) for item in records}
    for row in table.to_pylist():
        assert plain(row["query"]) != titles[row["publication_number"]]
        assert 8 <= len(row["query"]) <= 60
        assert not any(word in row["query"] for word in ("本发明", "本实用新型", "所述"))
    assert report["notes"].get("title_only", 0) < 0.01 * len(records)
    assert len(set(table["query"].to_pylist())) > 0.9 * len(records)


def test_sources_notes_and_counts(tmp_path: Path) -> None:
    records = list(sample.generate(20, seed=3))
    first, second, third, fourth = (item["publication_number"] for item in records[:4])
    cache = write_cache(
        tmp_path / "cache.json",
        {
            first: {"query": " 地里的石头\n怎么捡干净？ "},
            second: {"query": ""},
            third: {"query": records[2]["title"] + "。"},
            fourth: "not an object",
            "CN999999999A": {"query": "谁也不是"},
        },
    )
    table, report = build_queries(corpus(records), QueriesConfig(), cache, 1)
    rows = {row["publication_number"]: row for row in table.to_pylist()}
    assert set(rows) == {item["publication_number"] for item in records}
    assert rows[first]["query"] == "地里的石头怎么捡干净？"
    assert (rows[first]["source"], rows[first]["kind"]) == ("cache", "question")
    assert rows[second]["source"] == rows[third]["source"] == rows[fourth]["source"] == "rules"
    assert rows[third]["note"] == "cached_query_is_title"
    assert report["sources"] == {"cache": 1, "rules": 19}
    assert (report["cache_entries"], report["cache_empty"], report["cache_without_patent"]) == (5, 2, 1)


def test_the_order_of_the_corpus_does_not_matter() -> None:
    table = corpus(list(sample.generate(200, seed=3)))
    forward, _ = build_queries(table, QueriesConfig(), None, 5)
    backward, _ = build_queries(table.take(list(reversed(range(200)))), QueriesConfig(), None, 5)
    assert forward.equals(backward)
    assert forward.schema.equals(QUERIES)
    numbers = forward["publication_number"].to_pylist()
    assert numbers == sorted(numbers)


def test_an_empty_corpus() -> None:
    table, report = build_queries(corpus(list(sample.generate(1)))[:0], QueriesConfig(), None, 0)
    assert table.schema.equals(QUERIES)
    assert report["sources"] == {}
