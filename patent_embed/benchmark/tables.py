"""A benchmark as tables, whatever format it came in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.arrays import Rows, rows_of
from patent_embed.errors import UserError
from patent_embed.evaluation.qrels import Qrels

TEST = "test"
DOCUMENTS = pa.schema([("doc_id", pa.string()), ("text", pa.string())])
QUERIES = pa.schema(
    [
        ("query_id", pa.string()),
        ("text", pa.string()),
        ("publication_number", pa.string()),  # whose query it is; where nobody's, its id
        ("source", pa.string()),  # name of the benchmark
        ("kind", pa.string()),
        ("prompt", pa.string()),  # whose prompt an encoder puts before it: ``query``, or ``passage``
    ]
)
QRELS = pa.schema([("split", pa.string()), ("query_id", pa.string()), ("doc_id", pa.string()), ("grade", pa.int32())])
EXCLUDED = pa.schema([("query_id", pa.string()), ("doc_id", pa.string())])
LABEL_VALUES = (2, 20)  # a property of queries makes slices when it has so many different values

Judgement = tuple[str, str, str, int]  # split, query, document, grade


@dataclass(frozen=True)
class Item:
    """A document or a query: its id, its text, and what else is said of it."""

    id: str
    text: str
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Benchmark:
    """Documents, queries and judgements.

    Attributes:
        documents: as in ``DOCUMENTS``, from the largest id down (``evaluation.rankings``).
        queries: as in ``QUERIES``, and a text column for each property that makes slices; only judged ones.
        qrels: as in ``QRELS``. A document that is not among ``documents`` is one that nobody can find.
        excluded: as in ``EXCLUDED``: what is no candidate of a query.
        dropped: what was left out, by reason.
    """

    documents: pa.Table
    queries: pa.Table
    qrels: pa.Table
    excluded: pa.Table
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """Names of the properties of queries that make slices."""
        return [name for name in self.queries.column_names if name not in QUERIES.names]

    @property
    def splits(self) -> list[str]:
        """Sets of judgements: ``TEST`` first, then its parts."""
        return list(dict.fromkeys((TEST, *self.qrels["split"].unique().to_pylist())))

    def graded(self, split: str) -> pa.Table:
        """The rows of ``qrels`` of a split."""
        return self.qrels.filter(pc.equal(self.qrels["split"], split))

    def judgements(self) -> dict[str, Qrels]:
        """Split → judgements by row: ``TEST`` first. Documents that are not there have rows behind the last one."""
        known = self.documents["doc_id"].combine_chunks()
        absent = self.qrels["doc_id"].filter(pc.invert(pc.is_in(self.qrels["doc_id"], value_set=known))).unique()
        document = rows_of(self.qrels["doc_id"], pa.chunked_array([known, absent]))
        query, grade = rows_of(self.qrels["query_id"], self.queries["query_id"]), self.qrels["grade"].to_numpy()
        split = np.asarray(self.qrels["split"].to_pylist(), object)
        found = {}
        for name in self.splits:
            mine = split == name
            found[name] = Qrels.of(query[mine], document[mine], grade[mine].astype(np.int64))
        return found

    def excluded_rows(self) -> tuple[Rows, Rows]:
        """Rows of queries, ascending, and of the documents that are no candidates of theirs."""
        query = rows_of(self.excluded["query_id"], self.queries["query_id"])
        document = rows_of(self.excluded["doc_id"], self.documents["doc_id"])
        order = np.lexsort((document, query))
        return query[order], document[order]


def assemble(
    name: str,
    documents: Iterable[Item],
    queries: Iterable[Item],
    judgements: Iterable[Judgement],
    excluded: Iterable[tuple[str, str]] = (),
) -> Benchmark:
    """A benchmark of its parts, in any order.

    What repeats itself word for word is counted and dropped, and so are queries without judgements in ``TEST``,
    judgements of queries that are not there, and exclusions of queries or documents that are not.

    Raises:
        UserError: an id has two texts or a pair two grades, or no query is judged.
    """
    dropped: dict[str, int] = {}
    texts = {item.id: item.text for item in _distinct(documents, "document", dropped)}
    asked = list(_distinct(queries, "query", dropped))
    grades = _grades(judgements, {item.id for item in asked}, dropped)
    judged = {query for split, query, _ in grades if split == TEST}
    kept = sorted((item for item in asked if item.id in judged), key=lambda item: item.id)
    if not kept or not texts:
        raise UserError(
            f"benchmark {name!r} has {len(texts):,} documents and {len(asked):,} queries, of which {len(kept):,} are "
            "judged, so there is nothing to measure; its judgements must name the ids of its queries"
        )
    _count(dropped, "queries_without_judgements", len(asked) - len(kept))
    rows = [(split, query, document, grade) for (split, query, document), grade in grades.items() if query in judged]
    _count(dropped, "judgements_outside_test", len(grades) - len(rows))
    out = {item.id: item.text for item in kept}
    same = {(each, each) for each in out if each in texts and out[each] and out[each] in texts[each]}
    named = set(excluded)
    pairs = sorted(pair for pair in named | same if pair[0] in out and pair[1] in texts)
    _count(dropped, "exclusions_outside", len(named - set(pairs)))
    ids = sorted(texts, reverse=True)
    return Benchmark(
        pa.table([pa.array(ids, pa.string()), pa.array([texts[each] for each in ids], pa.string())], schema=DOCUMENTS),
        _query_table(name, kept),
        _table(rows, QRELS),
        _table(pairs, EXCLUDED),
        dropped,
    )


def whole_grade(value: str | float) -> int | None:
    """A grade as a whole number; None where it is none."""
    try:
        return int(float(value)) if float(value) == int(float(value)) else None
    except (ValueError, OverflowError):
        return None


def _distinct(items: Iterable[Item], what: str, dropped: dict[str, int]) -> Iterable[Item]:
    known: dict[str, str] = {}
    for item in items:
        if item.id not in known:
            known[item.id] = item.text
            yield item
        elif known[item.id] == item.text:
            _count(dropped, f"repeated_{what}", 1)
        else:
            raise UserError(f"{what} {item.id!r} is there twice, with two texts; which one is meant cannot be told")


def _grades(
    judgements: Iterable[Judgement], queries: set[str], dropped: dict[str, int]
) -> dict[tuple[str, str, str], int]:
    grades: dict[tuple[str, str, str], int] = {}
    for split, query, document, grade in judgements:
        if query not in queries:
            _count(dropped, "judgements_of_unknown_queries", 1)
            continue
        pair = (split, query, document)
        if grades.get(pair, grade) != grade:
            raise UserError(
                f"the judgements of {split!r} give document {document!r} of query {query!r} grade {grades[pair]} and "
                f"grade {grade}; trec_eval refuses that, too: leave one of them"
            )
        _count(dropped, "repeated_judgements", int(pair in grades))
        grades[pair] = grade
    return grades


def _query_table(name: str, queries: Sequence[Item]) -> pa.Table:
    columns = {
        "query_id": [item.id for item in queries],
        "text": [item.text for item in queries],
        "publication_number": [str(item.about.get("publication_number") or item.id) for item in queries],
        "source": [name] * len(queries),
        "kind": [str(item.about.get("kind") or "query") for item in queries],
        "prompt": ["passage" if item.about.get("prompt") == "passage" else "query" for item in queries],
    }
    table = pa.table(columns, schema=QUERIES)
    for label in sorted({key for item in queries for key in item.about} - set(QUERIES.names)):
        values = [item.about.get(label) for item in queries]
        plain = all(isinstance(value, str | bool) or value is None for value in values)
        shown = ["not said" if value is None else str(value) for value in values]
        if plain and LABEL_VALUES[0] <= len(set(shown)) <= LABEL_VALUES[1]:
            table = table.append_column(label.replace("_", " "), pa.array(shown, pa.string()))
    return table


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else [() for _ in schema]
    return pa.table(
        [pa.array(list(column), each.type) for column, each in zip(columns, schema, strict=True)], schema=schema
    )


def _count(dropped: dict[str, int], reason: str, many: int) -> None:
    if many:
        dropped[reason] = dropped.get(reason, 0) + many
