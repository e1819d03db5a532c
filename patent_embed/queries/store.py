"""Answers of language models, kept by what was asked: the same question to the same model is never paid for twice.

A store is a folder of Parquet parts that are only ever added, each complete before it has its name. So a killed run
loses at most what had not come back yet, and several runs may share a folder.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from patent_embed.errors import UserError
from patent_embed.folders import RemoteFolder

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

    def __init__(self, folder: Path | RemoteFolder) -> None:
        self.folder = folder
        if isinstance(folder, Path):
            folder.mkdir(parents=True, exist_ok=True)

    def read(self, keys: Collection[str]) -> dict[str, Answer]:
        """The stored answers to ``keys``; of several, the one added last.

        Raises UserError naming a part that is damaged or foreign.
        """
        wanted = pa.array(list(keys), pa.string())
        found: dict[str, Answer] = {}
        for name in self._parts():
            try:
                if isinstance(self.folder, Path):
                    table = pq.read_table(self.folder / name, schema=SCHEMA)
                else:
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
        """Keep answers for good. Errors are not kept: another run may have better luck."""
        rows = [asdict(answer) for answer in answers if not answer.error]
        if not rows:
            return
        name, table = f"part-{uuid.uuid4().hex}.parquet", pa.Table.from_pylist(rows, schema=SCHEMA)
        if isinstance(self.folder, RemoteFolder):
            with tempfile.TemporaryDirectory() as scratch:
                pq.write_table(table, Path(scratch) / name, compression="zstd")
                self.folder.put(Path(scratch) / name, name)
            return
        path = self.folder / name
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def _parts(self) -> list[str]:
        """Names of the parts in the order they were added."""
        if isinstance(self.folder, RemoteFolder):
            found = [(entry.mtime_ns, entry.name) for entry in self.folder.entries()]
        else:
            found = [(path.stat().st_mtime_ns, path.name) for path in self.folder.glob("*.parquet")]
        return [name for _, name in sorted(found) if name.endswith(".parquet")]
