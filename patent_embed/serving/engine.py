"""Search in a corpus by several systems at once: models' vectors, BM25, and their fusion."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from patent_embed.arrays import Rows, Vectors
from patent_embed.errors import UserError
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.evaluation.fusion import fuse
from patent_embed.evaluation.search import top_k
from patent_embed.serving.batching import resolved, then
from patent_embed.serving.corpus import Corpus, Facet, Filters, Mask
from patent_embed.serving.encoding import QueryVector, TextEncoder
from patent_embed.serving.highlight import query_words
from patent_embed.serving.vectors import Found, VectorSearch

BM25, HYBRID = "bm25", "hybrid"
DEPTH = 200
"""Results of a system that are known: a rank behind them is not told."""

_COMMON = 0.2  # words of more than this part of the texts are not marked
_ALIKE = 0.99  # cosine of a check query's vector and the one that the run kept: other hardware rounds otherwise


@dataclass(frozen=True)
class Model:
    """A model: what embeds queries, what searches its vectors, the vectors, and queries whose vectors are known."""

    encoder: TextEncoder
    search: VectorSearch
    vectors: Vectors
    digest: str = ""
    checks: Sequence[tuple[str, Vectors]] = ()


@dataclass(frozen=True)
class Query:
    """What is asked.

    Attributes:
        text: what is searched for; any length.
        like: instead of a text: the patents like this one, by its publication number.
        systems: whose lists are wanted, by name.
        count: results in a list, at most ``DEPTH``.
        filters: which patents may be found.
    """

    text: str = ""
    like: str = ""
    systems: tuple[str, ...] = (HYBRID,)
    count: int = 10
    filters: Filters = field(default_factory=Filters)


@dataclass(frozen=True)
class Hit:
    """A result: its row, score and rank (from 1), and its rank in the other lists (None: not among the first)."""

    row: int
    score: float
    rank: int
    ranks: Mapping[str, int | None]


@dataclass(frozen=True)
class Answer:
    """What was found.

    Attributes:
        lists: system → its best results, in the order in which they were asked.
        patents: how many the filters let through.
        facets: level ("subclass", "main group", "year") → values of the first results of the first list.
        marked: words of the query to be marked in texts.
        parts: of a long query, how many the model read.
        cut: whether the end of the query was left out.
        seconds: stage → what it took.
    """

    lists: Mapping[str, Sequence[Hit]]
    patents: int
    facets: Mapping[str, Sequence[Facet]]
    marked: Sequence[str]
    parts: int
    cut: bool
    seconds: Mapping[str, float]


class Engine:
    """A corpus and the systems that search it.

    Attributes:
        corpus: the patents.
        models: name → model; the first is the one that is fused with BM25.
        about: what the page says of the run.
    """

    def __init__(self, corpus: Corpus, words: Bm25Index, models: Mapping[str, Model], about: Any = None) -> None:
        """Raises UserError where vectors, words and patents are not of one corpus."""
        self.corpus, self.models, self.about, self._words = corpus, models, about, words
        sizes = {"words": words.size} | {name: len(model.vectors) for name, model in models.items()}
        if odd := {name: size for name, size in sizes.items() if size != len(corpus)}:
            raise UserError(
                f"the corpus has {len(corpus)} patents, but {odd} were indexed: they are of different runs; run again"
            )

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of all systems that can be asked."""
        return (*self.models, BM25, HYBRID) if self.models else (BM25,)

    @property
    def best(self) -> str:
        """The model that is fused with BM25."""
        return next(iter(self.models), "")

    def check(self) -> None:
        """Ask the queries whose vectors the run kept: a model that does not belong to the vectors finds nothing. What
        the first search makes (the dictionary of words, the facets' counts) is made then, before anybody waits for it.

        Raises:
            UserError: a vector is another than that of the run, or a search finds nothing.
        """
        for name, model in self.models.items():
            for text, known in model.checks:
                found = model.encoder.query(text).result()
                cosine = float(found.vector @ known) if found.vector.shape == known.shape else 0.0
                if found.parts == 1 and not cosine >= _ALIKE:
                    raise UserError(
                        f"the model {name!r} does not belong to the vectors of its run: a query has cosine "
                        f"{cosine:.3f} to the vector that the run kept, so results would be noise; run again, or name "
                        "the output folder with its own model"
                    )
                if len(self.corpus) and not len(model.search.submit(found.vector, 1, Filters()).result()[0]):
                    raise UserError(f"a search by {name!r} finds nothing; run again")
        asked = next((text for model in self.models.values() for text, _ in model.checks if text.strip()), "")
        if asked:
            self.search(Query(asked, systems=self.systems))

    def search(self, query: Query) -> Answer:
        """Ask the systems.

        Raises:
            UserError: there is nothing to search for, or a system or patent is not known.
        """
        watch = _Watch()
        row = self._row_like(query)
        wanted = set(query.systems)
        dense = [name for name in self.models if name in wanted or (HYBRID in wanted and name == self.best)]
        vectors = {name: self._vector(name, query.text, row) for name in dense}
        encoded = [watch.now()]
        for vector in vectors.values():
            vector.add_done_callback(lambda _: encoded.append(watch.now()))
        searches = {name: self._nearest(name, vectors[name], query.filters) for name in dense}
        mask = self.corpus.mask(query.filters)
        found: dict[str, Found] = {}
        if wanted & {BM25, HYBRID}:
            text = query.text if row is None else self.corpus.records([row], "abstract")[0]["abstract"]
            found[BM25] = self._by_words(text, mask)
            watch.lap(BM25)
        # Not for the vectors first: this thread would only wake up to wait again, and hold up those that work.
        found |= {name: search.result() for name, search in searches.items()}
        known = {name: vector.result() for name, vector in vectors.items()}
        watch.lap("encode", max(encoded))
        watch.lap("vectors")
        found = {name: _without(each, row) for name, each in found.items()}
        if HYBRID in wanted:
            found[HYBRID] = fuse([found[self.best], found[BM25]], DEPTH)
        lists = _lists(found, tuple(dict.fromkeys(query.systems)), query.count)
        facets = self._facets(found[next(iter(lists))][1], mask, query.filters)
        watch.lap("facets")
        return Answer(
            lists,
            len(self.corpus) if mask is None else int(np.count_nonzero(mask)),
            facets,
            self.marked(query.text),
            max((each.parts for each in known.values()), default=1),
            any(each.cut for each in known.values()),
            watch.seconds,
        )

    def marked(self, text: str) -> list[str]:
        """The words of a query that say something: see ``query_words``."""
        return query_words(text, lambda word: self._words.frequency(word) > _COMMON * len(self.corpus) + 1)

    def _row_like(self, query: Query) -> int | None:
        if unknown := [name for name in query.systems if name not in self.systems] or not query.systems:
            raise UserError(f"systems {unknown} are not known here; choose from {', '.join(self.systems)}")
        if bool(query.text.strip()) == bool(query.like):
            raise UserError("give a text to search for, or a patent whose like are wanted, and not both")
        if not query.like:
            return None
        row = self.corpus.row(query.like)
        if row is None:
            raise UserError(f"patent {query.like!r} is not in this corpus; name one that is")
        return row

    def _vector(self, name: str, text: str, row: int | None) -> Future[QueryVector]:
        if row is None:
            return self.models[name].encoder.query(text)
        return resolved(QueryVector(np.asarray(self.models[name].vectors[row], np.float32)))

    def _nearest(self, name: str, vector: Future[QueryVector], filters: Filters) -> Future[Found]:
        """A search that begins as soon as the vector is there. It does not wait for its request's thread to run: so the
        queries that were encoded in one batch are also searched in one."""
        search = self.models[name].search
        return then(vector, lambda encoded: search.submit(encoded.vector, DEPTH + 1, filters))

    def _by_words(self, text: str, mask: Mask | None) -> Found:
        scores = self._words.scores(text)
        if mask is not None:
            scores = np.where(mask, scores, np.float32(0))
        best, rows = top_k(scores, min(DEPTH + 1, len(scores)))
        return best[best > 0], rows[best > 0]

    def _facets(self, rows: Rows, mask: Mask | None, filters: Filters) -> dict[str, list[Facet]]:
        # Main groups once a subclass is chosen: without, no dozen of them says much.
        levels = ["subclass", *(["main group"] if any(len(each) >= 4 for each in filters.ipc) else [])]
        levels += ["year"] if self.corpus.dated else []
        return {level: self.corpus.facets(rows.tolist(), mask, level) for level in levels}


def _without(found: Found, row: int | None) -> Found:
    """Without the patent itself, and ``DEPTH`` long."""
    scores, rows = found
    keep = np.ones(len(rows), np.bool_) if row is None else rows != row
    return scores[keep][:DEPTH], rows[keep][:DEPTH]


def _lists(found: Mapping[str, Found], wanted: Sequence[str], count: int) -> dict[str, list[Hit]]:
    places = {name: {row: rank for rank, row in enumerate(rows.tolist(), 1)} for name, (_, rows) in found.items()}
    lists = {}
    for name in wanted:
        others = [other for other in found if other != name]
        scores, rows = (column[:count].tolist() for column in found[name])
        lists[name] = [
            Hit(row, score, rank, {other: places[other].get(row) for other in others})
            for rank, (row, score) in enumerate(zip(rows, scores, strict=True), 1)
        ]
    return lists


class _Watch:
    """Seconds of stages."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self.now, self._last = now, now()

    def lap(self, stage: str, end: float | None = None) -> None:
        """``stage`` began where the last one ended, and ended now or at ``end``, which may lie before: then it took
        nothing."""
        last, self._last = self._last, max(self._last, self.now() if end is None else end)
        self.seconds[stage] = self._last - last
