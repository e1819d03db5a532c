"""What a store is that a corpus and its vectors are written into, and which there are.

Every other module of this package holds one, found by being there: ``patent-embed index --to`` takes its name.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from patent_embed.arrays import Vectors
from patent_embed.errors import UserError
from patent_embed.folders import Folder
from patent_embed.registry import Registry

FIELDS = ("publication_number", "title", "abstract", "language", "codes", "publication_date", "applicants")
"""What of a patent goes along into stores that keep more than vectors; a null where its source has none."""


@dataclass(frozen=True)
class Content:
    """What is written.

    Attributes:
        groups: of some of ``FIELDS`` gives the patents in order, in tables with these.
        patents: how many there are.
        vectors: model → (patents, dim) float32 of length 1, rows as in ``groups``; may be memory-mapped.
    """

    groups: Callable[[Sequence[str]], Iterator[pa.Table]]
    patents: int
    vectors: Mapping[str, Vectors]

    @property
    def schema(self) -> pa.Schema:
        """Of the tables of ``with_vectors``: ``FIELDS``, and a column a model with its vectors."""
        lists = {"codes", "applicants"}
        fields = [(name, pa.list_(pa.string()) if name in lists else pa.string()) for name in FIELDS]
        return pa.schema([*fields, *((name, pa.list_(pa.float32(), v.shape[1])) for name, v in self.vectors.items())])

    def with_vectors(self, rows: int = 4096) -> Iterator[pa.RecordBatch]:
        """The patents with their vectors, in batches of at most ``rows``."""
        begin, schema = 0, self.schema
        for group in self.groups(FIELDS):
            for at in range(0, len(group), rows):
                part = group.slice(at, rows)
                columns = [part[name].combine_chunks().cast(schema.field(name).type) for name in FIELDS]
                for vectors in self.vectors.values():
                    mine = np.ascontiguousarray(vectors[begin : begin + len(part)], np.float32)
                    columns.append(pa.FixedSizeListArray.from_arrays(pa.array(mine.ravel()), mine.shape[1]))
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
                begin += len(part)

    def numbers(self) -> list[str]:
        """Publication numbers by row."""
        groups = self.groups(["publication_number"])
        found = [number for group in groups for number in group["publication_number"].to_pylist()]
        if len(found) != self.patents:
            raise RuntimeError(f"{len(found)} patents have {self.patents} vectors")
        return found


class Store(ABC):
    """A kind of store.

    Attributes:
        name: value of ``--to``.
        order: where it stands in lists of stores.
        package: that writes it, as it is imported.
        holds: what is in the folder afterwards, for ``about.json``.
    """

    name: str
    order: int = 100
    package: str
    holds: str

    def require(self) -> None:
        """Raises UserError where its package is not installed."""
        if importlib.util.find_spec(self.package) is None:
            raise UserError(
                f"--to {self.name} needs the package {self.package}, which is not installed here; "
                f'pip install "patent-embed[{self.name}]"'
            )

    @abstractmethod
    def write(self, content: Content, folder: Path) -> Mapping[str, Any]:
        """Write into the empty ``folder``; facts for ``about.json``, such as what was built."""

    def write_there(self, content: Content, folder: Folder) -> Mapping[str, Any] | None:
        """Write into ``folder``, which is in an object store and may hold what was written before, where the package
        can do that itself: readers find the old until the new is whole. None: it cannot, and nothing was done."""
        return None


STORES: Registry[Store] = Registry("patent_embed.stores", Store, "--to")  # type: ignore[type-abstract]


def write_numbers(content: Content, folder: Path) -> None:
    """``ids.txt``, for stores that know rows alone: a publication number a line, line n for row n from 0."""
    (folder / "ids.txt").write_text("".join(f"{number}\n" for number in content.numbers()), encoding="utf-8")


def blocks(vectors: Vectors, rows: int = 65_536) -> Iterator[tuple[int, Vectors]]:
    """The first row and the vectors of each block, in memory and float32."""
    for begin in range(0, len(vectors), rows):
        yield begin, np.ascontiguousarray(vectors[begin : begin + rows], np.float32)
