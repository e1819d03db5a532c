"""LanceDB: patents and the vectors of all models in one table."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
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
        return _write(content, Place(str(folder), {}), "create")

    @override
    def write_there(self, content: Content, folder: Folder) -> Mapping[str, Any] | None:
        if not known(folder):
            return None
        return _write(content, place_of(folder), "overwrite" if folder.holds(f"{TABLE}.lance") else "create")


LANCEDB = LanceDb()


@dataclass(frozen=True)
class Place:
    """A database as LanceDB's client knows it: its address, and what has to be told of that."""

    address: str
    options: dict[str, str]

    @property
    def table(self) -> str:
        """The address of ``TABLE``."""
        return f"{self.address}/{TABLE}.lance"


def known(folder: Folder) -> bool:
    """Whether LanceDB writes into ``folder`` itself: on a disk or at an ``s3://`` address; other stores that it knows
    were not tried."""
    return not folder.everywhere or urlsplit(folder.address).scheme == "s3"


def place_of(folder: Folder) -> Place:
    """A folder of this machine or at an ``s3://`` address as LanceDB's client knows it."""
    if folder.everywhere:
        return Place(f"s3://{folder.inside}", storage_options(folder.address))
    return Place(folder.inside, {})


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


def finish(place: Place, content: Content) -> Mapping[str, Any]:
    """Index the numbers of a table that has all rows, and remove the files of what it held before it was replaced:
    whoever still reads that has to open it again. The facts for ``about.json``.

    Raises:
        RuntimeError: it has fewer rows or more.
    """
    import lancedb

    table = lancedb.connect(place.address, storage_options=place.options).open_table(TABLE)
    if (rows := table.count_rows()) != content.patents:
        raise RuntimeError(f"{content.patents} patents were written, and the table has {rows}")
    table.create_scalar_index("publication_number")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # which says what is said above
        table.optimize(cleanup_older_than=timedelta(0), delete_unverified=True)
    return {"table": TABLE, "columns": list(content.schema.names), "distance": "dot"}


def _write(content: Content, place: Place, mode: str) -> Mapping[str, Any]:
    """``mode``: ``overwrite`` replaces a table that is there at once, by a new version; ``create`` wants none."""
    import lancedb

    reader = pa.RecordBatchReader.from_batches(content.schema, content.with_vectors())
    lancedb.connect(place.address, storage_options=place.options).create_table(TABLE, reader, mode=mode)
    return finish(place, content)
