"""A real log of queries with the patents that were clicked or cited for them: pairs to train and to measure on."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from patent_embed.data.cleaning import clean_text
from patent_embed.errors import UserError

_QUERIES = ("query", "q", "text", "search", "检索语句", "查询")
_PATENTS = (
    *("publication_number", "publication_numbers", "patent", "patents", "patent_id", "patent_ids", "doc_id"),
    *("clicked", "clicks", "cited", "citations", "relevant", "公开号"),
)
_BETWEEN = re.compile(r"[\s,;|，；、]+")


@dataclass(frozen=True)
class QueryLog:
    """What a log says.

    Attributes:
        pairs: query and publication number, each pair once, in the log's order.
        left_out: lines that say nothing, by reason.
    """

    pairs: list[tuple[str, str]]
    left_out: Mapping[str, int]


def read_log(path: Path) -> QueryLog:
    """Read JSON lines, or CSV or TSV with a header: a query, and a patent or several (a list, or a text with blanks,
    commas, semicolons or bars between them).

    Raises UserError where the file cannot be read, names no such columns, or holds no pair.
    """
    setting = f"queries.log {str(path)!r}"
    columns = f"a query ({', '.join(_QUERIES[:2])}, …) and patents ({', '.join(_PATENTS[:3])}, clicked, cited, …)"
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{setting} cannot be read: {error.strerror}; set it to a file of {columns}") from None
    except UnicodeDecodeError:
        raise UserError(f"{setting} is no UTF-8 text; write it as JSON lines, CSV or TSV") from None
    left_out: Counter[str] = Counter()
    pairs: dict[tuple[str, str], None] = {}
    for row in _rows(text):
        query, patents = _of(row, _QUERIES), [each for name in _PATENTS for each in _numbers(_named(row, name))]
        if row is None:
            left_out["torn lines"] += 1
        elif not query:
            left_out["lines without a query"] += 1
        elif not patents:
            left_out["lines without a patent"] += 1
        else:
            pairs |= dict.fromkeys((query, number) for number in patents)
    if not pairs:
        said = ", ".join(f"{count:,} {reason}" for reason, count in sorted(left_out.items())) or "it is empty"
        raise UserError(f"{setting} holds no query with a patent ({said}); write {columns} into each line")
    return QueryLog(list(pairs), dict(sorted(left_out.items())))


def _rows(text: str) -> Iterator[dict[str, Any] | None]:
    """A mapping for each line; None for one that is none."""
    if text.lstrip().startswith("{"):
        for line in text.splitlines():
            if line.strip():
                try:
                    row = orjson.loads(line)
                except orjson.JSONDecodeError:
                    row = None
                yield row if isinstance(row, dict) else None
        return
    head = text.partition("\n")[0]
    yield from csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in head else ",")


def _named(row: Mapping[str, Any] | None, name: str) -> Any:
    """What a row has under a name, whatever its case."""
    keys = (each for each in row or () if isinstance(each, str) and each.strip().lower() == name)
    return next((row[each] for each in keys if row), None)


def _of(row: Mapping[str, Any] | None, names: tuple[str, ...]) -> str:
    texts = (_named(row, name) for name in names)
    return next((clean_text(text) for text in texts if isinstance(text, str) and text.strip()), "")


def _numbers(value: Any) -> list[str]:
    """Publication numbers in a value: a text, or a list of texts or of objects that have one."""
    if isinstance(value, str):
        return [number for number in _BETWEEN.split(value.strip().upper()) if number]
    if isinstance(value, list):
        inner = [
            next((each[name] for name in _PATENTS if name in each), "") if isinstance(each, dict) else each
            for each in value
        ]
        return [number for each in inner if isinstance(each, str) for number in _numbers(each)]
    return []
