"""Files of queries that exist already: ``llm_queries_cache.json`` in its common layouts."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pyarrow as pa

from patent_embed.data.cleaning import clean_text
from patent_embed.data.files import QUERY_CACHE_NAME
from patent_embed.errors import UserError
from patent_embed.folders import Folder, write_json
from patent_embed.queries.sources import JUDGED, LOG, RULES
from patent_embed.scratch import scratch


def find_query_cache(data: Folder, explicit: str | None) -> Path | None:
    """The query cache to read: the named file, or ``llm_queries_cache.json`` in the data folder or its ``processed``.

    Raises:
        UserError: a cache is named and not there.
    """
    if explicit is not None:
        if not Path(explicit).is_file():
            raise UserError(
                f"queries.cache {explicit!r} is not a file: its queries would be missing; set queries.cache to an "
                "llm_queries_cache.json, or leave it out"
            )
        return Path(explicit)
    for name in (QUERY_CACHE_NAME, f"processed/{QUERY_CACHE_NAME}"):
        if data.size(name) is not None:
            place = data.copies(scratch(f"cache-{os.getpid()}"))
            data.fetch(name, place / name)
            return place / name
    return None


def read_query_cache(path: Path) -> dict[str, str]:
    """Queries by publication number; an entry without a usable query has an empty one.

    Raises UserError naming the file when it is torn or something else.
    """
    advice = "repair or remove it, or set queries.use_cache=false (--no_query_cache)"
    try:
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"query cache {str(path)!r} cannot be read: {error.strerror}; {advice}") from None
    except orjson.JSONDecodeError as error:
        raise UserError(f"query cache {str(path)!r} is not whole JSON ({error}): it is torn; {advice}") from None
    entries = document.get("queries_by_id") if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        raise UserError(
            f"query cache {str(path)!r} has no object 'queries_by_id', so it is not a query cache "
            f'({{"patent_ids": [...], "queries_by_id": {{id: {{"query": ...}}}}}}); {advice}'
        )
    queries = {}
    for number, entry in entries.items():
        query = entry.get("query") if isinstance(entry, dict) else None
        queries[number] = clean_text(query) if isinstance(query, str) else ""
    return queries


def write_query_cache(path: Path, table: pa.Table) -> int:
    """Write a queries table as an ``llm_queries_cache.json``; the number of entries.

    A patent's first query goes in, with its source and kind. Rule queries are left out: they cost nothing, and would
    come back as if a model had written them. So are judged and logged ones: their log has them.
    """
    entries = {
        row["publication_number"]: {"query": row["query"], "patent_id": row["publication_number"]}
        | {"source": row["source"], "kind": row["kind"]}
        for row in reversed(table.to_pylist())
        if row["source"] not in (RULES, JUDGED, LOG)
    }
    numbers = sorted(entries)
    write_json(path, {"patent_ids": numbers, "queries_by_id": {number: entries[number] for number in numbers}})
    return len(numbers)
