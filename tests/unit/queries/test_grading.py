"""What becomes of queries that a judge has graded; writer and judge are functions here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from patent_embed.config.queries import QueriesConfig
from patent_embed.data import sample
from patent_embed.data.schemas import GRADES, QUERIES
from patent_embed.folders import folder_at
from patent_embed.queries.asking import Patent, Request
from patent_embed.queries.control import Pair
from patent_embed.queries.grading import IRRELEVANT, Judge, Judged, judge_queries
from patent_embed.queries.judging import Judging
from patent_embed.queries.store import Answer, QueryStore
from patent_embed.queries.writing import Written
from tests.judges import dicing, knowing

CONFIG = QueriesConfig(backend="api", judge={"enabled": True, "controls": 40})


def corpus(count: int) -> tuple[pa.Table, pa.Table]:
    rows = [
        {name: item[name] for name in ("publication_number", "title", "abstract")}
        | {"language": "zh", "codes": [each["code"] for each in item["classifications"]]}
        for item in list(sample.generate(2 * count, seed=5))[::2]
    ]
    table = pa.Table.from_pylist(rows)
    return table, pa.table({"publication_number": table["publication_number"], "family": table["publication_number"]})


def queries_of(table: pa.Table, wrong: Sequence[int] = (), rules: Sequence[int] = ()) -> pa.Table:
    """A written query of each patent; those of the rows ``wrong`` are of another one, those of ``rules`` by rules."""
    texts = [f"检索 {number}" for number in table["publication_number"].to_pylist()]
    rows = [
        (number, 0, texts[-1 - row] if row in wrong else texts[row], "rules" if row in rules else "api", "claim", "")
        for row, number in enumerate(table["publication_number"].to_pylist())
    ]
    return pa.Table.from_pylist([dict(zip(QUERIES.names, row, strict=True)) for row in rows], schema=QUERIES)


class Endpoint:
    """A backend of a judge: ``say`` is a function of its prompt."""

    def __init__(self, judging: Judging, say: Callable[[str], str]) -> None:
        self.judging, self.say, self.asked = judging, say, list[Request]()

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        for request in reversed(requests):
            self.asked.append(request)
            text = self.say(self.judging.messages(request)[1]["content"])
            yield [Answer(request.key, text, "", 300, 8) if text else Answer(request.key, "", "timeout")]


def judged(
    folder: Path, say: Callable[[str], str], written: pa.Table, config: QueriesConfig = CONFIG, count: int = 40
) -> tuple[Judged, Endpoint]:
    judging = Judging("m", config, 1)
    endpoint = Endpoint(judging, say)
    empty = pa.table({"publication_number": pa.array([], pa.string()), "reason": pa.array([], pa.string())})
    report: dict[str, Any] = {
        "accepted_answers": len(written),
        "rejected_answers": {"no_query": 2},
        "rejected_examples": {"no_query": [""]},
    }
    judge = Judge(judging, endpoint, QueryStore(folder_at(folder)))
    return judge_queries(Written(written, empty, report), *corpus(count), judge), endpoint


def good(table: pa.Table) -> Callable[[str], str]:
    pairs = zip(table["abstract"].to_pylist(), table["publication_number"].to_pylist(), strict=True)
    written = {abstract: f"检索 {number}" for abstract, number in pairs}
    return lambda message: knowing(message, written)


def test_queries_that_miss_their_own_abstract_are_dropped_with_a_reason(tmp_path: Path) -> None:
    table, _ = corpus(40)
    numbers = table["publication_number"].to_pylist()
    asked = queries_of(table, wrong=[3, 7], rules=[5])
    found, endpoint = judged(tmp_path, good(table), asked)
    rows = {row["publication_number"]: row for row in found.written.table.to_pylist()}
    assert len(rows) == 40
    assert {number for number, row in rows.items() if row["note"] == IRRELEVANT} == {numbers[3], numbers[7]}
    assert {row["source"] for row in rows.values() if row["note"]} == {"rules"}
    kept = [row for number, row in rows.items() if number not in (numbers[3], numbers[7])]
    before = {row["publication_number"]: row for row in asked.to_pylist()}
    assert all(row == before[row["publication_number"]] for row in kept)
    report, about = found.written.report, found.written.report["judge"]
    assert (report["sources"], report["notes"]) == ({"api": 37, "rules": 3}, {IRRELEVANT: 2})
    assert (report["accepted_answers"], report["rejected_answers"]) == (38, {IRRELEVANT: 2, "no_query": 2})
    assert report["rejected_examples"][IRRELEVANT] == [before[numbers[3]]["query"], before[numbers[7]]["query"]]
    assert (about["why_not"], about["pairs"], about["grades"], about["dropped"]) == ("", 39, {"0": 2, "3": 37}, 2)
    assert about["per_1000_pairs"] == {"output tokens": 8000, "prompt tokens": 300_000}
    assert found.grades.schema == GRADES
    assert len(found.grades) == 39  # the query of rules is not asked about
    assert sum(request.graded.startswith("检索") for request in endpoint.asked) == 39


@pytest.mark.parametrize(("least", "dropped"), [(2, {4}), (1, set())])
def test_the_grade_at_the_bar_is_enough(tmp_path: Path, least: int, dropped: set[int]) -> None:
    table, _ = corpus(40)
    numbers, judge = table["publication_number"].to_pylist(), good(table)
    said = {f">检索 {numbers[4]}<": '{"grade": 1}', f">检索 {numbers[6]}<": '{"grade": 2}'}

    def say(message: str) -> str:
        return next((grade for query, grade in said.items() if query in message), "") or judge(message)

    lower = CONFIG.model_copy(update={"judge": CONFIG.judge.model_copy(update={"min_grade": least})})
    found, _ = judged(tmp_path, say, queries_of(table), lower)
    rows = found.written.table.to_pylist()
    assert {numbers.index(row["publication_number"]) for row in rows if row["note"] == IRRELEVANT} == dropped


def test_without_a_fallback_their_patents_are_rejects_and_others_keep_what_is_left(tmp_path: Path) -> None:
    table, _ = corpus(40)
    asked = queries_of(table, wrong=[3, 7])
    second = asked.slice(3, 1).to_pylist()[0]
    second |= {"query_no": 1, "query": f"检索 {second['publication_number']}"}
    asked = pa.concat_tables([asked.slice(0, 4), pa.Table.from_pylist([second], schema=QUERIES), asked.slice(4)])
    found, _ = judged(tmp_path, good(table), asked, CONFIG.model_copy(update={"fallback": "none"}))
    numbers = table["publication_number"].to_pylist()
    assert found.written.rejects.to_pylist() == [{"publication_number": numbers[7], "reason": IRRELEVANT}]
    left = [row for row in found.written.table.to_pylist() if row["publication_number"] == numbers[3]]
    assert [(row["query_no"], row["query"]) for row in left] == [(0, second["query"])]
    assert len(found.written.table) == 39


@pytest.mark.parametrize("say", [dicing, lambda message: json.dumps({"grade": 3}), lambda message: "no idea"])
def test_a_judge_that_fails_the_control_is_asked_no_more_and_drops_nothing(
    tmp_path: Path, say: Callable[[str], str]
) -> None:
    table, _ = corpus(40)
    asked = queries_of(table, wrong=[3, 7])
    found, endpoint = judged(tmp_path, say, asked)
    assert found.written.table.equals(asked)
    pairs = {request.key for request in endpoint.asked if not request.attempt}
    assert 30 < len(pairs) <= 40  # planted ones; two of them may be equal
    assert not any(request.graded.startswith("检索") for request in endpoint.asked)
    about = found.written.report["judge"]
    assert "is below queries.judge.min_" in about["why_not"]
    assert (about["pairs"], len(found.grades), found.written.report["rejected_answers"]) == (0, 0, {"no_query": 2})


def test_what_gets_no_grade_stays_and_is_counted_and_asked_again(tmp_path: Path) -> None:
    table, _ = corpus(40)
    asked, lost = queries_of(table, wrong=[3]), f"检索 {table['publication_number'][9].as_py()}"
    judge = good(table)
    found, _ = judged(tmp_path, lambda message: "" if f">{lost}<" in message else judge(message), asked)
    about = found.written.report["judge"]
    assert (about["ungraded"], about["errors"], about["dropped"]) == (1, {"timeout": 1}, 1)
    assert lost in found.written.table["query"].to_pylist()
    again, endpoint = judged(tmp_path, judge, asked)
    assert [request.graded for request in endpoint.asked] == [lost]
    assert again.written.report["judge"]["ungraded"] == 0
    assert again.written.table.equals(found.written.table)
    third, endpoint = judged(tmp_path, judge, asked)
    assert endpoint.asked == []
    assert third.written.report["judge"]["per_1000_pairs"] == again.written.report["judge"]["per_1000_pairs"]


def test_equal_pairs_are_asked_for_once(tmp_path: Path) -> None:
    table, _ = corpus(2)
    judging = Judging("m", CONFIG, 1)
    endpoint = Endpoint(judging, lambda message: '{"grade": 1}')
    patents = [Patent(*row) for row in zip(*(table[name].to_pylist() for name in table.column_names[:4]), strict=True)]
    pairs = [Pair("泵", patents[0]), Pair("泵", patents[1]), Pair("泵", patents[0])]
    assert Judge(judging, endpoint, QueryStore(folder_at(tmp_path))).grades(pairs) == [1, 1, 1]
    assert len(endpoint.asked) == 2
