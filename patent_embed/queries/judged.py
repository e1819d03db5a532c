"""Queries from what people said of search results: pairs to train and to measure on, each in one split alone.

A query has one split, the most held-out of those of its relevant patents (test before val before train): it is trained
on only where all of them are training patents, so that no judgement of a held-out patent is ever learnt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from patent_embed.data.schemas import JUDGED, QUERIES
from patent_embed.queries.rules import query_kind
from patent_embed.queries.sources import JUDGED as SOURCE
from patent_embed.queries.sources import LOG
from patent_embed.text import one_line

_HELD_OUT_FIRST = ("test", "val", "train")

Said = Iterable[tuple[str, str, bool]]
"""Query, publication number, whether relevant. Of several answers to a pair the last one holds."""


@dataclass(frozen=True)
class JudgedQueries:
    """Queries with those that people asked.

    Attributes:
        queries: ``QUERIES``, sorted: those that were there, and a row for each pair to train on, with the source
            ``judged``. A held-out query has one row, of one of its relevant patents; the others are in ``answers``.
        answers: ``JUDGED``: all that was said of patents that are in the corpus, and holds.
        counts: what became of the judgements, by name; all of them sum up to their number.
        asked: judged queries by split.
    """

    queries: pa.Table
    answers: pa.Table
    counts: Mapping[str, int]
    asked: Mapping[str, int]


def with_judged(
    queries: pa.Table, splits: pa.Table, said: Said, trained: Collection[str] = (), logged: Collection[str] = ()
) -> JudgedQueries:
    """Add judged queries to a corpus's own.

    Args:
        queries: ``QUERIES``. A judged query that is among them keeps the split of its patent there.
        splits: ``publication_number, family, split`` of the corpus.
        said: the judgements. A not relevant one teaches only beside a relevant one, or where ``queries`` has its query.
        logged: queries of ``said`` whose source is ``log``: they come from a real log.
        trained: judged queries that a model to be measured was trained on: they are not measured on.

    White space in a query counts as one blank.
    """
    columns = (splits[name].to_pylist() for name in ("publication_number", "family", "split"))
    patents = {number: (family, split) for number, family, split in zip(*columns, strict=True)}
    own: dict[str, list[str]] = {}
    for number, text in zip(queries["publication_number"].to_pylist(), queries["query"].to_pylist(), strict=True):
        own.setdefault(one_line(text), []).append(number)
    last = {(one_line(text), number): relevant for text, number, relevant in said}
    asked: dict[str, _Query] = {}
    counts: Counter[str] = Counter()
    for (text, number), relevant in last.items():
        if number not in patents or not text:
            counts["of unknown patents" if text else "without a query"] += 1
            continue
        query = asked.setdefault(text, _Query(text, tuple(own.get(text, ()))))
        (query.relevant if relevant else query.refused).append(number)
    rows, answers, by_split = list[tuple[str, str]](), list[tuple[str, str, bool, str]](), Counter[str]()
    known = set(map(one_line, trained))
    for query in asked.values():
        split = query.settle(patents, counts, known)
        if split:
            by_split[split] += 1
            rows += query.rows
            answers += query.answers(split)
    return JudgedQueries(
        _added(queries, rows, set(map(one_line, logged))),
        _table(sorted(answers), JUDGED),
        dict(sorted((+counts).items())),
        dict(by_split),
    )


@dataclass
class _Query:
    """A judged query: ``own`` are the patents that it was written for, ``rows`` what it adds to the queries."""

    text: str
    own: tuple[str, ...]
    relevant: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    rows: list[tuple[str, str]] = field(default_factory=list)

    def settle(self, patents: Mapping[str, tuple[str, str]], counts: Counter[str], trained: Collection[str]) -> str:
        """Decide its split and its rows, and count; empty: nothing is to be had from it."""
        judged = len(self.relevant) + len(self.refused)
        answers = sorted({*self.own, *self.relevant})
        if not answers:
            counts["of queries without a relevant patent"] += judged
            return ""
        found = {patents[number][1] for number in (self.own or answers)}
        # A query that was there is trained on with its own patent, whatever else was said to be relevant.
        order = reversed(_HELD_OUT_FIRST) if self.own else _HELD_OUT_FIRST
        split = next(each for each in order if each in found)
        if split != "train" and self.text in trained:
            counts["of queries that were trained on before"] += judged
            return ""
        families = {patents[number][0] for number in answers}
        kept = [number for number in self.refused if patents[number][0] not in families]
        counts["that contradict another"] += len(self.refused) - len(kept)
        self.refused = kept
        inside = [number for number in sorted(self.relevant) if patents[number][1] == split]
        fresh = [number for number in inside if number not in self.own]
        self.rows = [(number, self.text) for number in (fresh if split == "train" else fresh[: not self.own])]
        counts[f"{split}: relevant"] += len(inside)
        counts["relevant, of patents of another split"] += len(self.relevant) - len(inside)
        near = [number for number in kept if patents[number][1] == split]
        counts[f"{split}: not relevant"] += len(near)
        counts["not relevant, of patents of another split"] += len(kept) - len(near)
        return split

    def answers(self, split: str) -> list[tuple[str, str, bool, str]]:
        """Its rows of ``JUDGED``."""
        said = [(number, True) for number in self.relevant] + [(number, False) for number in self.refused]
        return [(self.text, number, relevant, split) for number, relevant in said]


def _added(queries: pa.Table, rows: list[tuple[str, str]], logged: Collection[str]) -> pa.Table:
    """``queries`` with (patent, text) ``rows``, numbered behind those that the patent has."""
    number: Counter[str] = Counter(queries["publication_number"].to_pylist())
    added: list[tuple[Any, ...]] = []
    for patent, text in sorted(rows):
        added.append((patent, number[patent], text, LOG if text in logged else SOURCE, query_kind(text), ""))
        number[patent] += 1
    together = pa.concat_tables([queries.select(QUERIES.names), _table(added, QUERIES)])
    return together.sort_by([("publication_number", "ascending"), ("query_no", "ascending")]).combine_chunks()


def _table(rows: list[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)
