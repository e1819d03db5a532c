"""LanceDB's table by the workers of a cluster: each writes fragments of its own, which one commit makes a table."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from typing_extensions import override

from patent_embed.artifacts import Artifact
from patent_embed.folders import Folder
from patent_embed.stores.base import Content
from patent_embed.stores.lance import LANCEDB, finish, known, place_of
from pipelines.served import ServedModel
from pipelines.store_writers.base import StoreWriter, files_of, patents_of

_ROWS = 1 << 16  # in a fragment at least, where there are so many: fewer make many small files


class LanceWriter(StoreWriter):
    """By lance-ray."""

    name, package = LANCEDB.name, "lance_ray"

    @override
    def reaches(self, folder: Folder) -> bool:
        return known(folder)

    @override
    def write(
        self, corpus: Artifact, models: Mapping[str, ServedModel], content: Content, folder: Folder
    ) -> Mapping[str, Any]:
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


WRITER = LanceWriter()
