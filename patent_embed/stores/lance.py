"""LanceDB: patents and the vectors of all models in one table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from typing_extensions import override

from patent_embed.stores.base import Content, Store

TABLE = "patents"


class LanceDb(Store):
    """A database with the table ``patents``. Without an index LanceDB searches it exactly; one can be made of it."""

    name, order, package = "lancedb", 1, "lancedb"
    holds = "a LanceDB database with the table patents: fields, and a column of vectors a model"

    @override
    def write(self, content: Content, folder: Path) -> Mapping[str, Any]:
        import lancedb

        reader = pa.RecordBatchReader.from_batches(content.schema, content.with_vectors())
        table = lancedb.connect(folder).create_table(TABLE, reader)
        table.create_scalar_index("publication_number")
        return {"table": TABLE, "columns": list(content.schema.names), "distance": "dot"}


LANCEDB = LanceDb()
