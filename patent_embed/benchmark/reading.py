"""Benchmarks as others publish them: a BEIR folder, or judgements and queries as TREC has them.

A folder holds ``queries.jsonl`` (``_id``, ``text``, ``metadata``) or ``queries.tsv`` or ``topics.tsv`` (id, tab, text);
judgements in ``qrels/test.tsv`` and ``qrels/test_PART.tsv``, or in one file ``qrels.tsv``, ``qrels.txt`` or ``qrels``,
whose lines are BEIR's (query, document, grade) or TREC's (query, iteration, document, grade); and documents in
``corpus.jsonl`` (``_id``, ``title``, ``text``), ``corpus.tsv`` or ``collection.tsv``. Without documents, those of a run
are meant. Any may end in ``.gz``. ``excluded.tsv`` (query, document) names what is no candidate of a query.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from patent_embed.benchmark.tables import TEST, Benchmark, Item, Judgement, assemble, whole_grade
from patent_embed.errors import UserError
from patent_embed.hashing import file_digest, text_digest

CORPUS = ("corpus.jsonl", "corpus.tsv", "collection.tsv")
QUERIES = ("queries.jsonl", "queries.tsv", "topics.tsv")
QRELS_FOLDER, QRELS = "qrels", ("qrels.tsv", "qrels.txt", "qrels")
EXCLUDED = "excluded.tsv"
_ENDS = (".tsv", ".txt", ".qrels")  # of judgements in their folder
_SHOWN = 80  # characters of a line that cannot be read


@dataclass(frozen=True)
class BenchmarkFolder:
    """The files of a benchmark.

    Attributes:
        corpus: None: the documents are those of a run.
        qrels: split → its judgements; ``TEST`` and its parts (``test_...``).
    """

    root: Path
    corpus: Path | None
    queries: Path
    qrels: dict[str, Path]
    excluded: Path | None

    @property
    def name(self) -> str:
        """What it is called: its folder's name."""
        return self.root.resolve().name

    @property
    def digest(self) -> str:
        """Of the names and contents of its files."""
        named = {"corpus": self.corpus, "queries": self.queries, "excluded": self.excluded, **self.qrels}
        return text_digest(*(f"{name}\0{path.name}\0{file_digest(path)}\n" for name, path in named.items() if path))

    def read(self, documents: Sequence[Item] = ()) -> Benchmark:
        """The benchmark; with ``documents`` where the folder has none.

        Raises:
            UserError: a line cannot be read, or see ``assemble``.
        """
        given = documents if self.corpus is None else _items(self.corpus, titled=True)
        judgements = (each for split, path in self.qrels.items() for each in read_qrels(path, split))
        return assemble(self.name, given, _items(self.queries), judgements, _excluded(self.excluded))


def find_benchmark(folder: Path) -> BenchmarkFolder:
    """What lies in a benchmark's folder. Raises UserError where queries or judgements are missing."""
    if not folder.is_dir():
        raise UserError(f"--benchmark {str(folder)!r} is no folder; name a BEIR folder, or one with queries and qrels")
    queries = _first(folder, QUERIES)
    if queries is None:
        raise UserError(f"{str(folder)!r} holds no queries; a benchmark has one of {', '.join(QUERIES)}")
    return BenchmarkFolder(folder, _first(folder, CORPUS), queries, _qrels(folder), _first(folder, (EXCLUDED,)))


def _qrels(folder: Path) -> dict[str, Path]:
    inside = folder / QRELS_FOLDER
    files = sorted(path for path in inside.iterdir() if path.is_file()) if inside.is_dir() else []
    named = {path.name.partition(".")[0]: path for path in files if path.name.removesuffix(".gz").endswith(_ENDS)}
    if not named and (single := _first(folder, QRELS)):
        return {TEST: single}
    if TEST in named:
        return {name: named[name] for name in (TEST, *named) if name == TEST or name.startswith(f"{TEST}_")}
    if len(named) == 1:
        return {TEST: next(iter(named.values()))}
    found = f"it has judgements of {', '.join(named)}, none of which is {TEST!r}" if named else "it has no judgements"
    raise UserError(
        f"{str(folder)!r}: {found}, so there is nothing to measure on; set {QRELS_FOLDER}/{TEST}.tsv in BEIR's or "
        "TREC's format"
    )


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    ways = (folder / f"{name}{end}" for name in names for end in ("", ".gz"))
    return next((path for path in ways if path.is_file()), None)


def read_qrels(path: Path, split: str = TEST) -> Iterator[Judgement]:
    """The lines of a file of judgements, of BEIR or TREC. Raises UserError for a line of neither."""
    for number, line in _lines(path):
        fields = line.split("\t")
        fields = fields if len(fields) in (3, 4) else line.split()  # TREC's have any white space
        if len(fields) in (3, 4) and (grade := whole_grade(fields[-1])) is not None:
            yield split, fields[0].strip(), fields[-2].strip(), grade
        elif number > 1 or len(fields) != 3:  # the first line of BEIR's names the columns
            raise UserError(
                f"{path}, line {number}: {line[:_SHOWN]!r} is no judgement; a line has a query, a document and a whole "
                "number, separated by tabs, or the four columns of TREC"
            )


def _items(path: Path, *, titled: bool = False) -> Iterator[Item]:
    """Documents (``titled``: the title stands before the text, as BEIR has it) or queries."""
    if ".jsonl" not in path.name:
        for number, line in _lines(path):
            key, tab, text = line.partition("\t")
            if not tab or not key.strip():
                raise UserError(f"{path}, line {number}: {line[:_SHOWN]!r} is not an id, a tab and a text")
            yield Item(key.strip(), text.strip())
        return
    for number, line in _lines(path):
        entry = _entry(path, number, line)
        about = entry.get("metadata")
        about = dict(about) if isinstance(about, dict) else {}
        title = entry.get("title") if titled else ""
        text = f"{title or ''} {entry.get('text') or ''}".strip()
        yield Item(str(entry["_id"]), text, about)


def _entry(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        entry = orjson.loads(line)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or not isinstance(entry.get("_id"), str | int) or entry["_id"] == "":
        raise UserError(
            f"{path}, line {number}: {line[:_SHOWN]!r} is no JSON object with an '_id', which names its text"
        )
    return entry


def _excluded(path: Path | None) -> Iterator[tuple[str, str]]:
    for number, line in _lines(path) if path else ():
        fields = line.split("\t")
        if len(fields) != 2:
            raise UserError(
                f"{path}, line {number}: {line[:_SHOWN]!r} is not the ids of a query and a document, tab between"
            )
        if number > 1 or fields != ["query-id", "corpus-id"]:
            yield fields[0].strip(), fields[1].strip()


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not empty."""
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line.rstrip("\r\n")
    except (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is not whole, or no UTF-8: {error}; get it again") from None
