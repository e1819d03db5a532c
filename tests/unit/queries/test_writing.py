"""From patents to queries; the model is a function here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from patent_embed.config.queries import QueriesConfig
from patent_embed.data import sample
from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.queries.asking import Asking, Patent, Request
from patent_embed.queries.cache import read_query_cache, write_query_cache
from patent_embed.queries.collecting import Backend
from patent_embed.queries.store import Answer, QueryStore
from patent_embed.queries.writing import Written, answers_to_come, write_queries

CONFIG = QueriesConfig(backend="api")


def corpus(count: int, language: str = "zh") -> pa.Table:
    rows = [
        {name: item[name] for name in ("publication_number", "title", "abstract")} | {"language": language}
        for item in list(sample.generate(2 * count, seed=5))[::2]  # odd ones may repeat their predecessor
    ]
    return pa.Table.from_pylist(rows)


class Model:
    """A backend; ``say`` makes an answer's text or raises a KeyError whose argument is the error."""

    def __init__(self, say: Callable[[Request], str] | None = None) -> None:
        self.say = say or self.good
        self.asked: list[str] = []

    def good(self, request: Request) -> str:
        return json.dumps({"query": f"要一种能解决{request.key[:14]}和{request.key[-14:]}的办法"})

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Answer]]:
        for request in reversed(requests):
            self.asked.append(request.key)
            try:
                yield [Answer(request.key, self.say(request), "", 100, 10)]
            except KeyError as error:
                yield [Answer(request.key, "", str(error.args[0]))]


def write(folder: Path, table: pa.Table, model: Backend, config: QueriesConfig = CONFIG, **cached: str) -> Written:
    return write_queries(table, Asking("m", config, 1), cached, model, QueryStore(folder_at(folder)))


def test_a_second_run_asks_nothing_and_a_change_asks_for_what_it_touches(tmp_path: Path) -> None:
    table, model = corpus(40), Model()
    first = write(tmp_path, table, model)
    assert first.report["sources"] == {"api": 40}
    assert first.report["tokens"] == {"output": 400, "prompt": 4000}
    again = Model()
    assert write(tmp_path, table.take(list(reversed(range(40)))), again).table.equals(first.table)
    assert again.asked == []
    abstracts = table["abstract"].to_pylist()
    abstracts[7] += "经改进。"
    changed = table.set_column(table.schema.get_field_index("abstract"), "abstract", pa.array(abstracts))
    write(tmp_path, changed, again)
    assert len(again.asked) == 1
    write(tmp_path, corpus(45), again)
    assert len(again.asked) == 6
    write(tmp_path, table, again, CONFIG.model_copy(update={"temperature": 0.1}))
    assert len(again.asked) == 46
    write(tmp_path, table, again, CONFIG.model_copy(update={"use_cache": False}))
    assert len(again.asked) == 86


def test_a_rejected_answer_is_retried_once_with_another_seed_then_rules(tmp_path: Path) -> None:
    table = corpus(30)
    stubborn = table["publication_number"][3].as_py()
    seeds: dict[str, set[int]] = {}

    def say(request: Request) -> str:
        seeds.setdefault(request.patent.number, set()).add(request.seed)
        if request.patent.number == stubborn or (request.attempt == 0 and request.patent.number.endswith("U")):
            return request.patent.abstract[:40]
        return Model().good(request)

    written = write(tmp_path, table, Model(say))
    rows = {row["publication_number"]: row for row in written.table.to_pylist()}
    utility = {number for number in rows if number.endswith("U")} | {stubborn}
    assert all(len(seeds[number]) == (2 if number in utility else 1) for number in rows)
    assert (rows[stubborn]["source"], rows[stubborn]["note"]) in {
        ("rules", "abstract_copied"),
        ("rules", "title_copied"),
        ("rules", "boilerplate"),
    }
    assert sum(row["source"] == "rules" for row in rows.values()) == 1
    assert sum(written.report["rejected_answers"].values()) == len(utility) + 1
    assert written.report["rejected_examples"]


def test_errors_fall_back_or_become_rejects_and_everything_is_counted(tmp_path: Path) -> None:
    table = corpus(30)
    numbers = table["publication_number"].to_pylist()

    def say(request: Request) -> str:
        if request.patent.number in numbers[:5]:
            raise KeyError("http_400")
        return Model().good(request)

    written = write(tmp_path / "a", table, Model(say))
    assert written.report["sources"] == {"api": 25, "rules": 5}
    assert written.report["notes"] == {"http_400": 5}
    config = CONFIG.model_copy(update={"fallback": "none"})
    written = write(tmp_path / "b", table, Model(say), config)
    assert sorted(written.rejects["publication_number"].to_pylist()) == sorted(numbers[:5])
    assert set(written.rejects["reason"].to_pylist()) == {"http_400"}
    assert len(written.table) == 25


def test_an_answer_that_never_comes_is_an_error(tmp_path: Path) -> None:
    def forgetful(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        yield [Answer(request.key, Model().good(request)) for request in requests[3:]]

    written = write(tmp_path, corpus(30), forgetful)
    assert written.report["errors"] == {"lost": 3}
    assert written.report["sources"] == {"api": 27, "rules": 3}


def test_what_came_before_a_crash_is_kept(tmp_path: Path) -> None:
    def crashing(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        for position, request in enumerate(requests):
            if position == 12:
                raise ConnectionError("node lost")
            yield [Answer(request.key, Model().good(request))]

    with pytest.raises(ConnectionError):
        write(tmp_path, corpus(30), crashing)
    model = Model()
    write(tmp_path, corpus(30), model)
    assert len(model.asked) == 18


def test_cached_queries_are_not_asked_for_and_several_queries_are_numbered(tmp_path: Path) -> None:
    table = corpus(20)
    number = table["publication_number"][0].as_py()
    model = Model()
    config = CONFIG.model_copy(update={"queries_per_patent": 3})
    written = write(tmp_path, table, model, config, **{number: "地里的石头怎么捡干净？"})
    assert len(model.asked) == 57
    rows = written.table.to_pylist()
    assert [row["query_no"] for row in rows if row["publication_number"] == number] == [0]
    other = [row for row in rows if row["publication_number"] == table["publication_number"][1].as_py()]
    assert [row["query_no"] for row in other] == [0, 1, 2]
    assert len({row["kind"] for row in other}) == 3


def test_an_exported_query_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    model = Model(lambda request: json.dumps({"query": f"要一种能解决{request.key[:14]}和\x04 \u200b也解决别的的办法"}))
    written = write(tmp_path, corpus(10), model)
    queries = {row["publication_number"]: row["query"] for row in written.table.to_pylist()}
    assert all("和也解决别的" in query for query in queries.values())
    write_query_cache(tmp_path / "cache.json", written.table)
    assert read_query_cache(tmp_path / "cache.json") == queries


def test_a_model_that_repeats_itself_is_caught(tmp_path: Path) -> None:
    written = write(tmp_path, corpus(25), Model(lambda request: "怎样让机器在冬天低温环境里也能稳定地工作而不损坏？"))
    assert written.report["sources"] == {"api": 1, "rules": 24}
    assert written.report["rejected_answers"] == {"near_duplicate": 48}


def test_a_model_that_answers_nothing_stops_the_run(tmp_path: Path) -> None:
    def silent(request: Request) -> str:
        raise KeyError("http_503")

    with pytest.raises(UserError, match=r"none of 25 requests \(25 http_503\)"):
        write(tmp_path, corpus(25), Model(silent))


def test_a_query_that_does_not_find_its_patent_is_asked_for_again_then_falls_back(tmp_path: Path) -> None:
    table = corpus(20)
    numbers = table["publication_number"].to_pylist()
    judged: list[int] = []

    def round_trip(asked: Sequence[str], queries: Sequence[str]) -> list[bool]:
        judged.append(len(asked))
        assert all(queries)
        return [number != numbers[4] and (number != numbers[5] or len(judged) > 1) for number in asked]

    store = QueryStore(folder_at(tmp_path))
    written = write_queries(table, Asking("m", CONFIG, 1), {}, Model(), store, round_trip=round_trip)
    assert judged == [20, 2]
    assert written.report["rejected_answers"] == {"round_trip": 3}
    assert written.report["accepted_answers"] == 19
    rows = {row["publication_number"]: row for row in written.table.to_pylist()}
    assert (rows[numbers[4]]["source"], rows[numbers[4]]["note"]) == ("rules", "round_trip")
    assert (rows[numbers[5]]["source"], rows[numbers[5]]["note"]) == ("api", "")


def test_progress_tells_what_has_come(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    store = QueryStore(folder_at(tmp_path))
    write_queries(corpus(12), Asking("m", CONFIG, 1), {}, Model(), store, on_progress=lambda *each: seen.append(each))
    assert seen == [(done, 12) for done in range(1, 13)]


def test_what_had_not_come_is_to_come_and_what_was_refused_is_not() -> None:
    errors = {"timeout": 3, "token_cap": 2, "http_503": 1, "http_400": 4, "empty_answer": 5, "lost": 1}
    assert answers_to_come(errors) == {"timeout": 3, "token_cap": 2, "http_503": 1, "lost": 1}
    assert answers_to_come({"malformed": 2}) == {}


def test_an_answer_that_was_cut_short_is_asked_for_with_more_room_and_never_taken(tmp_path: Path) -> None:
    table = corpus(30)
    numbers = table["publication_number"].to_pylist()
    asked: list[tuple[str, int, bool]] = []

    def backend(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        for request in requests:
            asked.append((request.patent.number, request.attempt, request.longer))
            cut = request.patent.number == numbers[3] or (request.patent.number in numbers[:3] and not request.longer)
            yield [Answer(request.key, Model().good(request), "truncated" if cut else "", 100, 10)]

    written = write(tmp_path, table, backend)
    rows = {row["publication_number"]: row for row in written.table.to_pylist()}
    assert [rows[number]["source"] for number in numbers[:5]] == ["api", "api", "api", "rules", "api"]
    assert rows[numbers[3]]["note"] == "truncated"
    assert sorted(each for each in asked if each[2]) == sorted((number, 0, True) for number in numbers[:4])
    assert written.report["rejected_answers"] == {"truncated": 5}
    assert written.report["errors"] == {}
    assert written.report["generated"] == 34
    again = Model()
    assert write(tmp_path, table, again).table.equals(written.table)
    assert again.asked == []  # what was cut short is not paid for again


def test_a_backend_that_asks_again_by_itself_gives_the_same_queries(tmp_path: Path) -> None:
    table = corpus(30)
    asking = Asking("m", CONFIG, 1)
    calls: list[int] = []

    def say(request: Request) -> Answer:
        number = int(request.key[:6], 16)
        if not request.longer and number % 5 == 0:
            return Answer(request.key, "{", "truncated")
        if request.attempt == 0 and number % 3 == 0:
            return Answer(request.key, request.patent.abstract[:40])
        return Answer(
            request.key, Model().good(request) if number % 4 else "怎样让机器在冬天低温环境里也能稳定地工作？"
        )

    def simple(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        yield [say(request) for request in requests]

    def eager(requests: Sequence[Request]) -> Iterator[list[Answer]]:
        calls.append(len(requests))
        for first in reversed(requests):
            piece: list[Answer] = []
            request: Request | None = first
            while request is not None:
                piece.append(say(request))
                request = asking.after(request, asking.verdict(request, piece[-1]))
            yield piece[::-1]  # a second answer may be there before the first

    one, two = write(tmp_path / "a", table, simple), write(tmp_path / "b", table, eager)
    assert one.table.equals(two.table)
    assert one.report == two.report
    assert set(one.report["rejected_answers"]) >= {"truncated", "near_duplicate"}
    assert len(calls) == 2  # the second for those that repeated others, which only all answers together show
    # Killed between an answer and what it leads to: that is asked first thing, with the rest.
    store = QueryStore(folder_at(tmp_path / "c"))
    store.add([say(asking.request(_patent(row), 0)) for row in table.to_pylist()[:20]])
    calls.clear()
    assert write(tmp_path / "c", table, eager).table.equals(one.table)
    assert len(calls) == 2


def _patent(row: dict[str, str]) -> Patent:
    return Patent(row["publication_number"], row["title"], row["abstract"], row["language"])
