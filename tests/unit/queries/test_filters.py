"""What a written query must not be."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest

from patent_embed.config.queries import QueriesConfig
from patent_embed.queries.filters import near_duplicates, reject_reason
from patent_embed.queries.prompts import EXAMPLES

CONFIG = QueriesConfig(backend="api")
TITLE = "一种滴灌带自动冲洗装置"
ABSTRACT = "本发明公开了一种滴灌带自动冲洗装置，水泵停机时阀芯在弹簧作用下打开，管内残水带走沉积的泥沙，避免滴头堵塞。"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("停机后怎样靠残留的水把毛管里的淤泥排走？", ""),
        ("？！", "empty"),
        ("堵了", "too_short"),
        ("怎样" * 40, "too_long"),
        ("how to flush drip tape after the pump stops", "wrong_language"),
        ("本发明怎样让毛管排走淤泥？", "boilerplate"),
        ("什么是能够排走淤泥的毛管？", "boilerplate"),
        ("如何实现滴灌带自动冲洗装置？", "title_copied"),
        ("停机时阀芯在弹簧作用下打开，管内残水怎么排？", "abstract_copied"),
        (EXAMPLES["zh"][0][2], "prompt_repeated"),
        ("写一条真实用户会输入的中文检索语句", "boilerplate"),
        ("水压升高时弹性齿弯曲使流道变窄怎么办", "prompt_repeated"),
    ],
)
def test_reasons(query: str, reason: str) -> None:
    assert reject_reason(query, TITLE, ABSTRACT, "zh", CONFIG) == reason


def test_english_limits_are_longer() -> None:
    query = "how can a drip line clean itself with the water that is left when the pump has stopped?"
    assert reject_reason(query, "Drip tape flushing", "A drip tape has a valve.", "en", CONFIG) == ""


def test_near_duplicates_keep_the_first_and_spare_the_same_document() -> None:
    query = "北方冬季低温环境下如何让露天安装的灌溉水泵停机以后不会结冰胀裂壳体"
    queries = [query, query.replace("如何", "怎样"), "完全不同的另一个关于齿轮箱润滑油路的问题是什么原因", query + "？"]
    assert near_duplicates(queries, ["甲", "乙", "丙", "甲"]) == [False, True, False, False]
    assert near_duplicates(["", ""], ["甲", "乙"]) == [False, False]


def test_strong_queries_pass(shared_data: Path) -> None:
    with gzip.open(shared_data / "patents-zh-5753.jsonl.gz") as file:
        patents = {item["publication_number"]: item for item in map(json.loads, file)}
    cache = json.loads((shared_data / "llm_queries_cache.json").read_text(encoding="utf-8"))["queries_by_id"]
    reasons = Counter(
        reject_reason(entry["query"], patents[number]["title"], patents[number]["abstract"], "zh", CONFIG)
        for number, entry in cache.items()
    )
    assert reasons[""] >= 0.99 * len(cache)
