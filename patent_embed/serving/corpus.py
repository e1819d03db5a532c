"""The patents that are searched, in files that are memory-mapped: records to show, and columns to filter by.

``records.arrow`` holds everything of a patent in small compressed batches, of which one is read for a record;
``columns.arrow`` what filters need of all patents: numbers, dates, and codes as places in ``symbols.arrow``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.arrays import Int32, Int64, owners_of, ranges_of
from patent_embed.data.schemas import KEPT
from patent_embed.ipc import main_group, subclass

_RECORDS, _COLUMNS, _SYMBOLS = "records.arrow", "columns.arrow", "symbols.arrow"
_ROWS_PER_BATCH = 64  # of the records: what is decompressed to show one
_SHOWN = pa.schema(
    [
        *((name, pa.string()) for name in ("publication_number", "title", "abstract", "language")),
        ("codes", pa.list_(pa.string())),
        *KEPT,
    ]
)
_MAIN_GROUP = re.compile(r"[A-HY]\d\d[A-Z]\d+")

Mask = NDArray[np.bool_]  # (patents,)


@dataclass(frozen=True)
class Filters:
    """Which patents may be found.

    Attributes:
        ipc: beginnings of symbols (``G``, ``G06T``, ``G06T3``, ``G06T3/40``), one of which a code of the patent has;
            empty: any.
        date_from: ``2015-01-01`` or a part of it, ``2015``; the first day that may be. Empty: any.
        date_to: the last day that may be, ``2015`` for all of that year. Empty: any.
    """

    ipc: tuple[str, ...] = ()
    date_from: str = ""
    date_to: str = ""

    def __bool__(self) -> bool:
        return bool(self.ipc or self.date_from or self.date_to)


@dataclass(frozen=True)
class Facet:
    """A value that a filter can have, how many of the first results have it, and how many patents in all."""

    value: str
    results: int
    patents: int


def write_corpus(folder: Path, groups: Iterable[pa.Table]) -> int:
    """Write the files of a corpus from its tables, in order of publication number; the number of patents.

    ``groups``: pieces of ``data.schemas.RECORDS`` without, perhaps, some columns of ``KEPT``.
    """
    numbers, dates, codes = list[pa.Array](), list[pa.Array](), list[pa.ChunkedArray]()
    # A record costs a fourth of what it does with zstd, which begins anew with each column of each batch; the file is
    # 1.4 times as large.
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(folder / _RECORDS, _SHOWN, options=options) as records:
        waiting = _SHOWN.empty_table()
        for group in groups:
            waiting = pa.concat_tables([waiting, _shown(group)])
            whole = len(waiting) // _ROWS_PER_BATCH * _ROWS_PER_BATCH
            _write(records, waiting.slice(0, whole))
            waiting = waiting.slice(whole)
            numbers += group["publication_number"].chunks
            dates.append(pa.array(_days(_shown(group)["publication_date"])))
            codes += group["codes"].chunks
        _write(records, waiting)
    flat = pa.chunked_array([c.flatten() for c in codes], pa.string())
    symbols = pc.unique(flat).sort()
    lengths = [np.asarray(pc.fill_null(pc.list_value_length(c), 0)) for c in codes]
    starts = np.concatenate([[0], np.cumsum(np.concatenate([*lengths, np.zeros(0, np.int32)]))]).astype(np.int32)
    places = pc.index_in(flat, value_set=symbols).combine_chunks()
    columns = {
        "publication_number": pa.chunked_array(numbers, pa.string()).combine_chunks(),
        "date": pa.concat_arrays(dates) if dates else pa.array([], pa.int32()),
        "codes": pa.ListArray.from_arrays(pa.array(starts), places),
    }
    _write_one(folder / _COLUMNS, pa.table(columns))
    _write_one(folder / _SYMBOLS, pa.table({"symbol": symbols}))
    return len(columns["date"])


def _write(writer: Any, table: pa.Table) -> None:
    for batch in table.combine_chunks().to_batches(max_chunksize=_ROWS_PER_BATCH):
        writer.write_batch(batch)


def _write_one(path: Path, table: pa.Table) -> None:
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table.combine_chunks())


def _shown(group: pa.Table) -> pa.Table:
    absent = [field for field in _SHOWN if field.name not in group.column_names]
    for field in absent:
        group = group.append_column(field, pa.nulls(len(group), field.type))
    return group.select(_SHOWN.names).cast(_SHOWN)


def _days(dates: pa.ChunkedArray) -> Int32:
    """``2021-03-09`` → 20210309; 0 where there is none."""
    plain = pc.replace_substring(pc.fill_null(dates, ""), "-", "")
    known = pc.if_else(pc.equal(pc.utf8_length(plain), 8), plain, "0")
    days: Int32 = pc.cast(known, pa.int32()).to_numpy()
    return days


class Corpus:
    """The patents of a folder that ``write_corpus`` filled; safe to ask from several threads."""

    def __init__(self, folder: Path) -> None:
        self._map = pa.memory_map(str(folder / _RECORDS))
        columns, symbols = (pa.ipc.open_file(pa.memory_map(str(folder / name))) for name in (_COLUMNS, _SYMBOLS))
        table = columns.read_all().combine_chunks()
        self.numbers = table["publication_number"].combine_chunks()
        self._days: Int32 = table["date"].to_numpy()
        codes = table["codes"].combine_chunks()
        self._codes: Int32 = codes.flatten().to_numpy()
        self._owners = owners_of(np.diff(codes.offsets.to_numpy()))
        self._symbols: list[str] = symbols.read_all()["symbol"].to_pylist()
        self._readers = threading.local()
        # Caches of this corpus, which go with it.
        self._mask = lru_cache(maxsize=32)(self._new_mask)
        self._pairs = lru_cache(maxsize=3)(self._new_pairs)

    def __len__(self) -> int:
        return len(self._days)

    @property
    def dated(self) -> bool:
        """Whether any patent has a date."""
        return bool(self._days.any())

    def row(self, number: str) -> int | None:
        """The row of a publication number; None: there is no such patent."""
        found = pc.index(self.numbers, pa.scalar(number, pa.string())).as_py()
        return None if found < 0 else int(found)

    def records(self, rows: Sequence[int], *columns: str) -> list[dict[str, Any]]:
        """Patents as they are shown: ``publication_number``, ``title``, ``abstract``, ``codes``, ``language``, and what
        is kept of them (``data.schemas.KEPT``). ``columns``: only these; none: all."""
        names = list(columns) or _SHOWN.names
        file = self._reader(tuple(names))
        batches = {at: file.get_batch(at) for at in {row // _ROWS_PER_BATCH for row in rows}}
        return [
            {name: batches[row // _ROWS_PER_BATCH][name][row % _ROWS_PER_BATCH].as_py() for name in names}
            for row in rows
        ]

    def _reader(self, names: tuple[str, ...]) -> pa.ipc.RecordBatchFileReader:
        """A reader of some columns, one a thread: Arrow does not say that threads may share one."""
        known: dict[tuple[str, ...], pa.ipc.RecordBatchFileReader] = vars(self._readers).setdefault("known", {})
        if names not in known:
            fields = [_SHOWN.get_field_index(name) for name in names]
            # Handing such small batches to other threads takes longer than reading them.
            options = pa.ipc.IpcReadOptions(included_fields=fields, use_threads=False)
            known[names] = pa.ipc.open_file(self._map, options=options)
        return known[names]

    def mask(self, filters: Filters) -> Mask | None:
        """Which patents ``filters`` let through; None: all."""
        return self._mask(filters) if filters else None

    def _new_mask(self, filters: Filters) -> Mask:
        mask = np.ones(len(self), np.bool_)
        if filters.ipc:
            wanted = np.zeros(len(self._symbols) + 1, np.bool_)
            for beginning in filters.ipc:
                wanted[slice(*self._span(beginning))] = True
            mask = np.zeros(len(self), np.bool_)
            mask[self._owners[wanted[self._codes]]] = True
        if filters.date_from:
            mask &= self._days >= _day(filters.date_from, "00")
        if filters.date_to:
            mask &= (self._days <= _day(filters.date_to, "99")) & (self._days > 0)
        return mask

    def _span(self, beginning: str) -> tuple[int, int]:
        """The symbols with a beginning: they stand together."""
        if _MAIN_GROUP.fullmatch(beginning):
            beginning += "/"
        exact = len(beginning.partition("/")[2]) > 0
        low = int(np.searchsorted(self._symbol_array, beginning))
        high = np.searchsorted(self._symbol_array, beginning + ("" if exact else "\U0010ffff"), "right")
        return low, int(high)

    @cached_property
    def _symbol_array(self) -> NDArray[Any]:
        return np.asarray(self._symbols, dtype=np.str_)

    def facets(self, rows: Sequence[int], mask: Mask | None, level: str, most: int = 12) -> list[Facet]:
        """The values of ``level`` ("subclass", "main group" or "year") that the patents ``rows`` have, most of them
        first; ``patents`` counts those that ``mask`` lets through."""
        owners, numbers, names, everywhere = self._pairs(level)
        first, last = np.searchsorted(owners, rows), np.searchsorted(owners, rows, "right")
        results = np.bincount(numbers[ranges_of(first, last - first)], minlength=len(names))
        # Equal counts: by name, which their numbers follow.
        shown = np.lexsort((np.arange(len(names)), -results))[:most]
        shown = shown[results[shown] > 0]
        patents = everywhere if mask is None else np.bincount(numbers[mask[owners]], minlength=len(names))
        return [Facet(names[at], int(results[at]), int(patents[at])) for at in shown.tolist()]

    def _new_pairs(self, level: str) -> tuple[Int64, Int64, list[str], Int64]:
        """Every (patent, value) once, in order of patents: rows, numbers of values; the values' names in order, and how
        many patents have each."""
        rows, numbers, names = self._years() if level == "year" else self._parts(level)
        return rows, numbers, names, np.bincount(numbers, minlength=len(names))

    def _years(self) -> tuple[Int64, Int64, list[str]]:
        rows = np.flatnonzero(self._days)
        years, inverse = np.unique(self._days[rows] // 10_000, return_inverse=True)
        return rows, inverse.astype(np.int64), [str(year) for year in years]

    def _parts(self, level: str) -> tuple[Int64, Int64, list[str]]:
        part: Callable[[str], str] = main_group if level == "main group" else subclass
        of_symbols = [part(symbol) for symbol in self._symbols]
        names = sorted(set(of_symbols))
        numbers = {name: number for number, name in enumerate(names)}
        number_of = np.asarray([numbers[name] for name in of_symbols], np.int64)
        pairs = np.unique(self._owners * max(1, len(names)) + number_of[self._codes])
        return pairs // max(1, len(names)), pairs % max(1, len(names)), names


def _day(text: str, filler: str) -> int:
    """``2015-06`` and ``99`` → 20150699: no day of that month is later."""
    year, month, day = (*text.split("-"), "", "")[:3]
    return int(year + (month or filler) + (day or filler))
