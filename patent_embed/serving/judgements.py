"""What people said of results: an append-only log, a JSON object a line, and its export as qrels.

A line is written by one ``write`` to a file opened for appending, then synced: when ``append`` returns, the judgement
survives a killed process and a loss of power. A line that a crash tore is skipped by readers, and counted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson

from patent_embed.errors import UserError
from patent_embed.folders import write_atomic
from patent_embed.hashing import text_key

LOG_NAME = "judgements.jsonl"
"""The log's usual name in an output folder."""


@dataclass(frozen=True)
class Judgement:
    """One answer to "is this what you looked for?".

    Attributes:
        query: the text that was searched for.
        publication_number: of the patent that was judged.
        relevant: the answer; None takes an earlier one back.
        system: in whose list it was seen ("tuned", "bm25", …); empty where that is not known.
        rank: its place there, from 1; 0 where that is not known.
        model: digest of the vectors that were searched, to tell models apart.
        time: when, ISO 8601 in UTC.
    """

    query: str
    publication_number: str
    relevant: bool | None
    system: str = ""
    rank: int = 0
    model: str = ""
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


@dataclass(frozen=True)
class Judgements:
    """What a log says, newest answer last.

    Attributes:
        lines: every judgement in the order in which they came.
        torn: lines that are no judgement, such as one that a crash cut short.
    """

    lines: tuple[Judgement, ...]
    torn: int = 0

    def current(self) -> dict[tuple[str, str], Judgement]:
        """(query, publication number) → the last word on it, without what was taken back; in order of first mention."""
        last = {(each.query, each.publication_number): each for each in self.lines}
        return {key: each for key, each in last.items() if each.relevant is not None}


class JudgementLog:
    """A log that takes judgements, from any thread of this process and from several processes at once."""

    def __init__(self, path: Path) -> None:
        """Open or begin the log. Raises UserError where it cannot be written, or holds lines of another kind."""
        self.path = path
        found = read_judgements(path) if path.exists() else Judgements(())
        self.torn = found.torn
        self._current = found.current()
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"judgements cannot be kept in {str(path)!r} ({error.strerror}); set --judgements to a file that can "
                "be written"
            ) from None
        if (size := os.fstat(self._file).st_size) and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")  # a line that a crash tore stays alone

    def append(self, judgement: Judgement) -> None:
        """Add a judgement; it is on the disk when this returns. Raises OSError where it cannot be."""
        line = orjson.dumps(judgement) + b"\n"
        key = (judgement.query, judgement.publication_number)
        with self._lock:
            written = os.write(self._file, line)
            if written != len(line):  # the disk is full: what is there must not become part of the next line
                os.write(self._file, b"\n")
                raise OSError(f"{written} of {len(line)} bytes of a judgement were written to {self.path.name}")
            os.fsync(self._file)
            if judgement.relevant is None:
                self._current.pop(key, None)
            else:
                self._current[key] = judgement

    def verdict(self, query: str, publication_number: str) -> bool | None:
        """What is held of a patent for a query; None: nothing."""
        found = self._current.get((query, publication_number))
        return found.relevant if found else None

    def current(self) -> list[Judgement]:
        """All that holds now."""
        with self._lock:
            return list(self._current.values())

    def __len__(self) -> int:
        return len(self._current)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def read_judgements(path: Path) -> Judgements:
    """All that a log holds.

    Raises:
        UserError: it cannot be read, or no line of it is a judgement.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"judgements {str(path)!r} cannot be read: {error.strerror}; name a file that is one") from None
    found, torn = list[Judgement](), 0
    for line in filter(None, lines):
        try:
            found.append(_judgement(orjson.loads(line)))
        except (ValueError, TypeError, KeyError):
            torn += 1
    if torn and not found:
        raise UserError(
            f"none of the {torn} lines of {str(path)!r} is a judgement, so nothing can be learnt from it; name a log "
            f"that `patent-embed serve` wrote ({LOG_NAME})"
        )
    return Judgements(tuple(found), torn)


def qrels(judgements: Iterable[Judgement]) -> str:
    """Judgements in the format of TREC: ``query_id 0 publication_number 0|1`` a line, ids as in ``query_lines``."""
    return "".join(f"{query_id(j.query)} 0 {j.publication_number} {int(bool(j.relevant))}\n" for j in judgements)


def query_lines(judgements: Iterable[Judgement]) -> str:
    """The judged queries, ``query_id<TAB>text`` a line, each once; white space in a text is one blank."""
    texts = dict.fromkeys(j.query for j in judgements)
    return "".join(f"{query_id(text)}\t{' '.join(text.split())}\n" for text in texts)


def query_id(query: str) -> str:
    """A name of a query that depends on its text alone."""
    return text_key(query, 8)


def export_judgements(log: Path, folder: Path) -> int:
    """Write ``qrels.txt`` and ``queries.tsv`` of a log into ``folder``; the number of judgements that hold."""
    current = list(read_judgements(log).current().values())
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "qrels.txt", qrels(current).encode())
    write_atomic(folder / "queries.tsv", query_lines(current).encode())
    return len(current)


def _judgement(found: dict[str, object]) -> Judgement:
    judged = Judgement(**found)  # type: ignore[arg-type]  # checked below
    texts = (judged.query, judged.publication_number, judged.system, judged.model, judged.time)
    if not all(isinstance(text, str) for text in texts) or not isinstance(judged.relevant, bool | None):
        raise TypeError("not a judgement")
    return judged
