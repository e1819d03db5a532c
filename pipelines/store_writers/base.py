"""What the workers of a cluster need to write a corpus into a store together, and which stores they can write.

Every other module of this package holds the writer of a store, found by being there. A store without one is written by
the driver alone.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, open_artifact
from patent_embed.folders import Folder
from patent_embed.registry import Registry
from patent_embed.stores.base import Content, Store
from pipelines.served import ServedModel
from pipelines.session import on_cluster


class StoreWriter(ABC):
    """Writes a store by many workers at once.

    Attributes:
        name: of the store in ``STORES``.
        package: that the workers write with, as it is imported.
    """

    name: str
    order: int = 100
    package: str

    @abstractmethod
    def reaches(self, folder: Folder) -> bool:
        """Whether the store's package writes into ``folder`` from any worker that reaches it."""

    @abstractmethod
    def write(
        self, corpus: Artifact, models: Mapping[str, ServedModel], content: Content, folder: Folder
    ) -> Mapping[str, Any]:
        """Write the corpus with its vectors into ``folder``, in a Ray session that there is; what is there is replaced
        at once. Rows may stand in another order than in the corpus.

        Args:
            content: the same patents, as the driver has them.

        Returns:
            Facts for ``about.json``, as the store's own ``write``.
        """


WRITERS: Registry[StoreWriter] = Registry("pipelines.store_writers", StoreWriter, "--to")  # type: ignore[type-abstract]


def writer_of(store: Store, folder: Folder) -> StoreWriter | None:
    """What writes ``store`` into ``folder`` by the workers of a cluster; None: there is no cluster, or the driver has
    to write it alone."""
    if not on_cluster() or store.name not in WRITERS.names():
        return None
    writer = WRITERS[store.name]
    return writer if importlib.util.find_spec(writer.package) is not None and writer.reaches(folder) else None


def files_of(corpus: Artifact) -> list[dict[str, int]]:
    """The parts of a corpus by their numbers, and the row of the corpus that each begins with."""
    files, first = list[dict[str, int]](), 0
    for number, part in enumerate(corpus.parts("corpus")):
        files.append({"part": number, "first": first})
        first += pq.read_metadata(part).num_rows
    return files


def groups_of(file: pq.ParquetFile, fields: Sequence[str]) -> Iterator[pa.Table]:
    """``fields`` of a part of a corpus, a row group at a time, with nulls for what the corpus has not."""
    known = [name for name in fields if name in file.schema_arrow.names]
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=known)
        for name in fields:
            if name not in known:
                table = table.append_column(name, pa.nulls(len(table)))
        yield table.select(list(fields))


def patents_of(batch: Mapping[str, Any], corpus: str, models: Mapping[str, ServedModel]) -> Iterator[pa.Table]:
    """What a worker writes: one of ``files_of`` as columns, with its vectors."""
    (part,), (first,) = batch["part"].tolist(), batch["first"].tolist()
    file = pq.ParquetFile(open_artifact(corpus).parts("corpus")[part])
    rows = file.metadata.num_rows
    vectors = {name: served.matrix()[first : first + rows] for name, served in models.items()}
    for each in Content(partial(groups_of, file), rows, vectors).with_vectors():
        yield pa.Table.from_batches([each])
