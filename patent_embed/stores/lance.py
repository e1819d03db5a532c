"""LanceDB: patents and the vectors of all models in one table."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from typing_extensions import override

from patent_embed.folders import Folder
from patent_embed.stores.base import Content, Store

TABLE = "patents"


class LanceDb(Store):
    """A database with the table ``patents``. Without an index LanceDB searches it exactly; one can be made of it."""

    name, order, package = "lancedb", 1, "lancedb"
    holds = "a LanceDB database with the table patents: fields, and a column of vectors a model"

    @override
    def write(self, content: Content, folder: Path) -> Mapping[str, Any]:
        return finished(_written(content, str(folder), {}), content)

    @override
    def write_there(self, content: Content, folder: Folder) -> Mapping[str, Any] | None:
        if urlsplit(folder.address).scheme != "s3":
            return None  # the others that LanceDB knows were not tried
        table = _written(content, table_place(folder), storage_options(folder.address))
        facts = finished(table, content)
        drop_old_versions(table)
        return facts


LANCEDB = LanceDb()


def table_place(folder: Folder) -> str:
    """An ``s3://`` folder as LanceDB's client knows it."""
    return f"s3://{folder.inside}"


def storage_options(address: str) -> dict[str, str]:
    """What LanceDB's client has to be told of an ``s3://`` address, which pyarrow's finds by itself: the options behind
    the path, and whether an endpoint has no TLS. Keys, regions and endpoints of the environment both know."""
    asked = dict(parse_qsl(urlsplit(address).query))
    endpoint = asked.get("endpoint_override", "")
    if endpoint and "://" not in endpoint:
        endpoint = f"{asked.get('scheme', 'https')}://{endpoint}"
    used = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    options = {"endpoint": endpoint, "region": asked.get("region", "")}
    options["allow_http"] = "true" if used.startswith("http://") else ""
    return {name: value for name, value in options.items() if value}


def finished(table: Any, content: Content) -> Mapping[str, Any]:
    """Index the numbers of a table that has all rows; the facts for ``about.json``.

    Raises:
        RuntimeError: it has fewer or more.
    """
    if (rows := table.count_rows()) != content.patents:
        raise RuntimeError(f"{content.patents} patents were written, and the table has {rows}")
    table.create_scalar_index("publication_number")
    return {"table": TABLE, "columns": list(content.schema.names), "distance": "dot"}


def drop_old_versions(table: Any) -> None:
    """Remove the files of what a table held before it was replaced; whoever still reads that has to open it again."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # which says just this
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)


def _written(content: Content, uri: str, options: dict[str, str]) -> Any:
    """The table, in place of one that is there: by a new version, at once."""
    import lancedb

    reader = pa.RecordBatchReader.from_batches(content.schema, content.with_vectors())
    return lancedb.connect(uri, storage_options=options).create_table(TABLE, reader, mode="overwrite")
