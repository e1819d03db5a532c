"""Answers of language models, kept by what was asked: the same question to the same model is never paid for twice.

A store is a folder of Parquet parts that are only ever added, each complete before it has its name. So a killed run
loses at most what had not come back yet, and several runs may share a folder.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from patent_embed.errors import UserError
from patent_embed.folders import Folder

# Answers that are no whole ones: as long as they may be, or drafts without what they were for.
CUT = ("truncated", "reasoning_only")
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("text", pa.string()),
        ("error", pa.string()),
        ("prompt_tokens", pa.int64()),
        ("output_tokens", pa.int64()),
    ]
)


@dataclass(frozen=True)
class Answer:
    """What a model said to the request ``key``; with ``error``, why it said nothing."""

    key: str
    text: str = ""
    error: str = ""
    prompt_tokens: int = 0
    output_tokens: int = 0


class QueryStore:
    """The answers in ``folder``."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder

    def read(self, keys: Collection[str]) -> dict[str, Answer]:
        """The stored answers to ``keys``; of several, the one added last.

        Raises:
            UserError: a part is damaged or foreign; the message names it.
        """
        wanted = pa.array(list(keys), pa.string())
        found: dict[str, Answer] = {}
        for name in self._parts():
            try:
                with self.folder.open(name) as file:
                    table = pq.read_table(file, schema=SCHEMA)
            except (OSError, pa.ArrowException) as error:
                raise UserError(
                    f"{self.folder}/{name} cannot be read as stored answers ({error}); remove this file: only what it "
                    "held is asked again"
                ) from None
            for row in table.filter(pc.is_in(table["key"], wanted)).to_pylist():
                found[row["key"]] = Answer(**row)
        return found

    def add(self, answers: Iterable[Answer]) -> None:
        """Keep answers for good. Errors are not kept: another run may have better luck; but what was cut short was paid
        for, and would be again."""
        rows = [asdict(answer) for answer in answers if not answer.error or answer.error in CUT]
        if rows:
            with self.folder.new_file(f"part-{uuid.uuid4().hex}.parquet") as path:
                pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), path, compression="zstd")

    def _parts(self) -> list[str]:
        """Names of the parts in the order they were added."""
        found = [(entry.mtime_ns, entry.name) for entry in self.folder.entries()]
        return [name for _, name in sorted(found) if name.endswith(".parquet")]
