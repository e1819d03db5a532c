"""Parquet files. Columns of bytes are texts: some writers store strings as BINARY, not saying that they are UTF-8.

A Parquet file is compressed twice: its pages, and its values, of which a column's dictionary holds each different one
once. So a file of two kilobytes may mean gigabytes. Both are measured by the budget that archives have: a row group by
what its pages unpack to before they are read, its rows by what they hold, few enough at a time for any dictionary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.data.archives import Budget, TooLarge
from patent_embed.data.encodings import decode
from patent_embed.data.formats.base import Format
from patent_embed.data.raw import RawRecord, rejected

_ROWS = 2000  # at a time, at most
_BYTES = 256 << 20  # that the rows of that time may hold, as far as this can be told before
_ROW_BYTES = 8  # of a row of nulls: it costs a record, too
_I32, _DICTIONARY_PAGE = 0x15, 2  # in Thrift's compact protocol; in parquet.thrift


class Parquet(Format):
    """A Parquet file: one record a row."""

    name: ClassVar[str] = "parquet"
    order: ClassVar[int] = 20
    suffixes: ClassVar[tuple[str, ...]] = (".parquet", ".pq")

    def recognises(self, name: str, head: bytes) -> bool:
        """By its magic number."""
        return head.startswith(b"PAR1")

    def read(self, file: BinaryIO, source: str) -> Iterator[RawRecord]:
        """The rows, numbered from 0."""
        return self.read_within(file, source, Budget(file))

    def read_within(self, file: BinaryIO, source: str, budget: Budget) -> Iterator[RawRecord]:
        """The same, of a file that may unpack to no more than ``budget``. Raises TooLarge where it would."""
        row = 0
        with pq.ParquetFile(file) as table:
            for batch in _batches(table, file, budget):
                for fields in _rows(batch):
                    place = f"{source}[{row}]"
                    yield (
                        rejected(place, "unreadable_file", fields)
                        if isinstance(fields, str)
                        else RawRecord(place, fields)
                    )
                    row += 1


def _batches(table: pq.ParquetFile, file: BinaryIO, budget: Budget) -> Iterator[pa.RecordBatch]:
    for number in range(table.num_row_groups):
        group = table.metadata.row_group(number)
        if group.total_byte_size > budget.left:
            raise TooLarge(f"{group.total_byte_size:,} bytes in row group {number}, which no patents of this size have")
        at_once = max(1, min(_ROWS, int(_BYTES // max(1, _longest_row(group, file)))))
        for batch in table.iter_batches(batch_size=at_once, row_groups=[number]):
            budget.spend(batch.nbytes + _ROW_BYTES * len(batch))
            yield batch


def _longest_row(group: pq.RowGroupMetaData, file: BinaryIO) -> float:
    """Bytes that a row may come to by values that stand in the file once: in a dictionary, or as a common prefix.
    Lists are taken to be equally long."""
    longest = 0.0
    for number in range(group.num_columns):
        column = group.column(number)
        if column.physical_type == "BYTE_ARRAY":
            shared = column.total_uncompressed_size if "DELTA_BYTE_ARRAY" in column.encodings else 0
            longest += max(shared, _dictionary_bytes(column, file)) * column.num_values / max(1, group.num_rows)
    return longest


def _dictionary_bytes(column: pq.ColumnChunkMetaData, file: BinaryIO) -> int:
    """What the dictionary of a column unpacks to; 0 without one. Read from the head of the first page, as the file's
    footer does not say it: a Thrift structure that begins with the page's type and unpacked size, each an i32."""
    begin = column.data_page_offset
    if column.has_dictionary_page and 0 < column.dictionary_page_offset < begin:
        begin = column.dictionary_page_offset
    file.seek(begin)
    head = iter(file.read(12))
    values = []
    for _ in range(2):
        if next(head, None) != _I32:
            return int(column.total_uncompressed_size)  # no page that is known: the most that it may be
        number = shift = 0
        for byte in head:
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        values.append((number >> 1) ^ -(number & 1))  # zigzag
    kind, size = values
    return size if kind == _DICTIONARY_PAGE else 0


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch; instead of one that cannot be turned into Python values, why."""
    try:
        rows: list[Any] = batch.to_pylist()
    except (
        pa.ArrowException,
        ValueError,
        OverflowError,
    ) as error:  # dates beyond Python's years, bytes that are no text
        if len(batch) == 1:
            yield f"{type(error).__name__}: {error}"
            return
        for position in range(len(batch)):
            yield from _rows(batch.slice(position, 1))
        return
    for row in rows:
        yield {name: _text(value) if isinstance(value, bytes) else value for name, value in row.items()}


def _text(value: bytes) -> Any:
    decoded = decode(value)
    return decoded.text if decoded is not None else value


PARQUET = Parquet()
