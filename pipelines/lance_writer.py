"""LanceDB's table by the workers of a cluster: each writes fragments of its own, which one commit makes a table."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, open_artifact
from patent_embed.folders import Folder
from patent_embed.stores.base import Content
from patent_embed.stores.lance import finish, place_of
from pipelines.served import ServedModel
from pipelines.session import on_cluster

_ROWS = 1 << 16  # in a fragment at least, where there are so many: fewer make many small files


def workers_write() -> bool:
    """Whether there is a cluster, and lance-ray, by which its workers write."""
    return on_cluster() and importlib.util.find_spec("lance_ray") is not None


def write_by_workers(
    corpus: Artifact, models: Mapping[str, ServedModel], content: Content, folder: Folder
) -> Mapping[str, Any]:
    """Write the corpus with its vectors as the table of a database in ``folder``, which all workers reach, in a session
    that there is; a table that is there is replaced at once. Rows may stand in another order than in the corpus.

    Args:
        content: the same patents, as the driver has them.

    Returns:
        Facts for ``about.json``, as the store's own writer.
    """
    import lance_ray
    import ray

    files = files_of(corpus)
    rows = partial(patents_of, corpus=corpus.address, models=dict(models))
    data = ray.data.from_items(files, override_num_blocks=len(files)).map_batches(rows, batch_size=1)
    place = place_of(folder)
    lance_ray.write_lance(
        data,
        place.table,
        schema=content.schema,
        mode="overwrite",
        min_rows_per_file=_ROWS,
        storage_options=place.options or None,
    )
    return finish(place, content)


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
