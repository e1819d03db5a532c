"""Rows of a table to records: where its header is, and what a row holds under it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from patent_embed.data.fields import plan

# Exports put a title, a date or a query above the header; it is among the first rows, and has names that are known.
MOST_ROWS_ABOVE = 20
_ENOUGH_NAMES = 2

Row = tuple[int, Sequence[Any]]  # its number, and its cells


def known_names(cells: Iterable[Any]) -> int:
    """How many different fields a row of cells names, if it is a header."""
    return len(plan(tuple(dict.fromkeys(cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()))))


def header_among(rows: Sequence[Row]) -> int | None:
    """Index of the header among a table's first rows: the one that names most fields; None where all are empty."""
    named = [known_names(cells) for _, cells in rows]
    if named and max(named) >= _ENOUGH_NAMES:
        return named.index(max(named))
    return next((index for index, (_, cells) in enumerate(rows) if not is_blank(cells)), None)


def is_blank(cells: Sequence[Any]) -> bool:
    """Whether nothing stands in a row."""
    return not any(cell is not None and str(cell).strip() for cell in cells)


def fields_of(names: Sequence[str], cells: Sequence[Any]) -> dict[str, Any]:
    """Name → cell. Cells of columns that share a name are a list; cells beyond the header have no name."""
    if len(set(names)) == len(names):
        return {name: cell for name, cell in zip(names, cells, strict=False) if name}
    fields: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=False):
        if not name or cell in (None, ""):
            fields.setdefault(name, cell) if name else None
        elif fields.get(name) in (None, ""):
            fields[name] = cell
        else:
            before = fields[name]
            fields[name] = [*before, cell] if isinstance(before, list) else [before, cell]
    return fields


def header_names(cells: Sequence[Any]) -> list[str]:
    """The names in a header row; empty where a column has none."""
    return ["" if cell is None else str(cell).strip().strip("\ufeff").strip() for cell in cells]


def records_of(rows: Iterator[Row]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(number of the row, its fields) of each row below the header; blank rows are no records."""
    first: list[Row] = []
    for row in rows:
        first.append(row)
        if len(first) > MOST_ROWS_ABOVE or known_names(row[1]) > _ENOUGH_NAMES:
            break
    header = header_among(first)
    if header is None:
        return
    names = header_names(first[header][1])
    for part in (first[header + 1 :], rows):
        for number, cells in part:
            if not is_blank(cells):
                yield number, fields_of(names, cells)
