"""Parquet files. Columns of bytes are texts: some writers store strings as BINARY, not saying that they are UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.data.encodings import decode
from patent_embed.data.formats.base import Format
from patent_embed.data.raw import RawRecord, rejected

_ROWS = 2000  # at a time


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
        row = 0
        with pq.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=_ROWS):
                for fields in _rows(batch):
                    place = f"{source}[{row}]"
                    yield (
                        rejected(place, "unreadable_file", fields)
                        if isinstance(fields, str)
                        else RawRecord(place, fields)
                    )
                    row += 1


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
