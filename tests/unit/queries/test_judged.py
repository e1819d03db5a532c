"""Judged queries: which split they get, which rows they add, and that every judgement is accounted for."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.schemas import QUERIES
from patent_embed.queries.judged import JudgedQueries, with_judged

# TR1 and TR2 are one family.
SPLIT = {"TR1": "train", "TR2": "train", "TR3": "train", "VA1": "val", "TE1": "test", "TE2": "test"}
FAMILY = {number: number for number in SPLIT} | {"TR2": "TR1"}


def judged(said: Iterable[tuple[str, str, bool]], trained: Iterable[str] = (), **own: str) -> JudgedQueries:
    """Judgements on six patents, whose queries are their numbers in words, or as ``own`` says."""
    columns = [list(SPLIT), list(FAMILY.values()), list(SPLIT.values())]
    splits = pa.table(dict(zip(("publication_number", "family", "split"), columns, strict=True)))
    rows = [(number, 0, own.get(number, f"对{number}的提问"), "rules", "question", "") for number in SPLIT]
    columns_out = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), QUERIES, strict=True)]
    return with_judged(pa.table(columns_out, schema=QUERIES), splits, said, list(trained))


def added(found: JudgedQueries) -> list[tuple[str, int, str]]:
    rows = [row for row in found.queries.to_pylist() if row["source"] == "judged"]
    return [(row["publication_number"], row["query_no"], row["query"]) for row in rows]


def test_a_pair_of_training_patents_is_a_query_of_each() -> None:
    found = judged([("水泵", "TR1", True), ("水泵", "TR3", True), ("水泵", "VA1", False)])
    assert added(found) == [("TR1", 1, "水泵"), ("TR3", 1, "水泵")]
    assert found.asked == {"train": 1}
    assert found.counts == {"not relevant, of patents of another split": 1, "train: relevant": 2}
    assert found.queries["publication_number"].to_pylist() == sorted([*SPLIT, "TR1", "TR3"])


def test_a_query_with_a_held_out_answer_is_not_trained_on_and_measured_once() -> None:
    said = [("水泵", number, True) for number in ("TR1", "VA1", "TE2", "TE1")]
    found = judged([*said, ("水泵", "TR3", False), ("阀门", "VA1", True), ("阀门", "TR1", True)])
    assert added(found) == [("TE1", 1, "水泵"), ("VA1", 1, "阀门")]
    assert found.asked == {"test": 1, "val": 1}
    assert {(row["query"], row["split"]) for row in found.answers.to_pylist()} == {("水泵", "test"), ("阀门", "val")}
    assert len(found.answers) == 7  # what training patents are relevant is known where it is measured


def test_a_query_that_is_there_stays_in_its_split() -> None:
    """It is trained on with its own patent in any case, so that what it finds elsewhere cannot be measured."""
    found = judged([("水泵", "TE1", True), ("水泵", "TR3", True), ("水泵", "TR2", False)], TR1="水泵")
    assert added(found) == [("TR3", 1, "水泵")]
    assert found.asked == {"train": 1}
    assert found.counts == {  # TR2 is of the family of the query's own patent
        "relevant, of patents of another split": 1,
        "that contradict another": 1,
        "train: relevant": 1,
    }
    held_out = judged([("阀门", "TE2", True)], TE1="阀门", TE2="另一个")
    assert added(held_out) == []  # TE1 has the row, TE2 is a further answer
    assert held_out.answers.to_pylist()[0]["split"] == "test"


def test_what_teaches_nothing_is_counted() -> None:
    said = [
        ("水泵", "CN404", True),
        ("阀门", "TR1", False),
        ("阀门", "TR3", False),
        ("", "TR1", True),
        ("转轴", "TE1", True),
        ("转轴", "TE2", False),
    ]
    found = judged(said, trained=["转轴"])
    assert added(found) == []
    assert not len(found.answers)
    assert found.counts == {
        "of queries that were trained on before": 2,
        "of queries without a relevant patent": 2,
        "of unknown patents": 1,
        "without a query": 1,
    }


def test_the_last_word_on_a_pair_holds() -> None:
    found = judged([("水 泵", "TR1", False), ("水  泵 ", "TR1", True)])
    assert added(found) == [("TR1", 1, "水 泵")]
    assert found.counts == {"train: relevant": 1}


@given(
    st.lists(
        st.tuples(st.sampled_from(["水泵", "阀门", "转轴"]), st.sampled_from([*SPLIT, "CN404"]), st.booleans()),
        max_size=12,
    ),
    st.dictionaries(st.sampled_from(list(SPLIT)), st.sampled_from(["水泵", "阀门"]), max_size=2),
)
def test_every_judgement_is_counted_and_no_query_is_trained_on_and_measured(
    said: list[tuple[str, str, bool]], own: dict[str, str]
) -> None:
    found = judged(said, **own)
    assert sum(found.counts.values()) == len({(text, number) for text, number, _ in said})
    split_of: dict[str, set[str]] = {}
    for number, _, text in added(found):
        split_of.setdefault(text, set()).add(SPLIT[number])
    assert all(len(splits) == 1 for splits in split_of.values())
    for text, splits in split_of.items():
        if not any(text == value for value in own.values()):
            relevant = {
                number for t, number, last in {(t, n): (t, n, r) for t, n, r in said}.values() if t == text and last
            }
            in_splits = {SPLIT[number] for number in relevant if number in SPLIT}
            assert splits == {"test"} if "test" in in_splits else splits == {"val"} if "val" in in_splits else {"train"}
