"""Queries for patents, from an existing cache or by rule: every patent gets one, and each says where it is from."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from patent_embed.artifacts import write_json
from patent_embed.config import QueriesConfig
from patent_embed.errors import UserError
from patent_embed.records import QUERY_CACHE_NAME, clean_text
from patent_embed.rule_queries import plain, rule_query
from patent_embed.storage import RemoteFolder, scratch

SCHEMA = pa.schema(
    [
        ("publication_number", pa.string()),
        ("query_no", pa.int32()),
        ("query", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("note", pa.string()),
    ]
)
KINDS = ("question", "keywords", "scenario", "claim", "statement")


def find_query_cache(data_dir: Path | RemoteFolder, explicit: str | None) -> Path | None:
    """The query cache to read: the named file, or ``llm_queries_cache.json`` in the data folder or its ``processed``.

    Raises UserError when a cache is named and not there.
    """
    if explicit is not None:
        if not Path(explicit).is_file():
            raise UserError(
                f"queries.cache {explicit!r} is not a file: its queries would be missing; set queries.cache to an "
                "llm_queries_cache.json, or leave it out"
            )
        return Path(explicit)
    if isinstance(data_dir, RemoteFolder):
        for name in (QUERY_CACHE_NAME, f"processed/{QUERY_CACHE_NAME}"):
            if data_dir.size(name) is not None:
                copy = scratch(f"cache-{os.getpid()}") / QUERY_CACHE_NAME
                data_dir.fetch(name, copy)
                return copy
        return None
    folder = data_dir if data_dir.is_dir() else data_dir.parent
    candidates = (folder / QUERY_CACHE_NAME, folder / "processed" / QUERY_CACHE_NAME)
    return next((path for path in candidates if path.is_file()), None)


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
    come back as if a model had written them.
    """
    entries = {
        row["publication_number"]: {"query": row["query"], "patent_id": row["publication_number"]}
        | {"source": row["source"], "kind": row["kind"]}
        for row in reversed(table.to_pylist())
        if row["source"] != "rules"
    }
    numbers = sorted(entries)
    write_json(path, {"patent_ids": numbers, "queries_by_id": {number: entries[number] for number in numbers}})
    return len(numbers)


def build_queries(
    corpus: pa.Table, config: QueriesConfig, cache: Path | Mapping[str, str] | None, seed: int
) -> tuple[pa.Table, dict[str, Any]]:
    """The queries table (SCHEMA, sorted) of a corpus, and counts for the report.

    ``cache`` is a cache file or its content. A patent takes its query from there, where it has a usable one, and by
    rule otherwise. The result does not depend on the order of the corpus.
    """
    cached = read_query_cache(cache) if isinstance(cache, Path) else dict(cache or {})
    columns = [corpus[name].to_pylist() for name in ("publication_number", "title", "abstract", "language")]
    rows = []
    for number, title, abstract, language in sorted(zip(*columns, strict=True)):
        query, note = cached.get(number, ""), ""
        if query and plain(query) == plain(title):
            query, note = "", "cached_query_is_title"
        if query:
            rows.append((number, 0, query, "cache", query_kind(query), ""))
            continue
        query, kind, found = rule_query(
            title, abstract, language, seed, min_chars=config.min_chars, max_chars=config.max_chars
        )
        rows.append((number, 0, query, "rules", kind, note or found))
    columns_out = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    table = pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns_out, SCHEMA, strict=True)], schema=SCHEMA)
    return table, {
        "sources": _counts(table, "source"),
        "kinds": _counts(table, "kind"),
        "notes": {note: count for note, count in _counts(table, "note").items() if note},
        "cache_entries": len(cached),
        "cache_empty": sum(not query for query in cached.values()),
        "cache_without_patent": len(cached.keys() - set(columns[0])),
    }


def query_kind(query: str) -> str:
    """The kind of a query that came without one."""
    if query[-1] in "？?":
        return "question"
    return "keywords" if query.count(" ") >= 2 and not query.isascii() else "statement"


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    return dict(sorted(Counter(table[column].to_pylist()).items()))
