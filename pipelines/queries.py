"""The query step: cached queries, a model through a backend, rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.artifacts import Outcome
from patent_embed.config import QueriesConfig
from patent_embed.queries import build_queries, read_query_cache
from patent_embed.query_store import Answer, QueryStore
from patent_embed.query_writing import Request, write_queries
from patent_embed.storage import RemoteFolder


def digest_settings(config: QueriesConfig) -> dict[str, Any]:
    """The settings that decide what queries come out; the others only decide how fast."""
    limits = config.model_dump(mode="json", include={"backend", "min_chars", "max_chars"})
    if config.backend == "rules":
        return limits
    content = {"queries_per_patent", "kinds", "fallback", "copy_chars", "temperature", "top_p", "max_tokens"}
    chosen = config.model_dump(mode="json", include=content | {"max_prompt_chars"})
    fresh = {} if config.use_cache else {"fresh": True}  # what was written without a store is another artifact
    return limits | chosen | fresh | {"model": model_identity(config)}


def model_identity(config: QueriesConfig) -> str:
    """What names the query writer in digests and stored answers."""
    if config.backend == "api":
        return f"api:{config.api.base_url or ''}:{config.api.model or config.llm.model}"
    return f"llm:{config.llm.model}"


def queries_step(
    folder: Path, corpus: pa.Table, config: QueriesConfig, cache: Path | None, store: Path | RemoteFolder, seed: int
) -> Outcome:
    """Write ``queries.parquet`` and, with a model, ``query_rejects.parquet``; its answers are kept in ``store``."""
    if config.backend == "rules":
        table, report = build_queries(corpus, config, cache, seed)
        pq.write_table(table, folder / "queries.parquet", compression="zstd")
        return Outcome(rows={"queries": len(table)}, report=report)
    cached = read_query_cache(cache) if cache else {}
    uncached = [number for number in corpus["publication_number"].to_pylist() if not cached.get(number)]
    backend = _backend(config) if uncached else _no_requests
    written = write_queries(corpus, config, cached, backend, model_identity(config), QueryStore(store), seed)
    pq.write_table(written.table, folder / "queries.parquet", compression="zstd")
    pq.write_table(written.rejects, folder / "query_rejects.parquet", compression="zstd")
    rejects = {item["values"]: item["counts"] for item in written.rejects["reason"].value_counts().to_pylist()}
    return Outcome(rows={"queries": len(written.table)}, rejects=dict(sorted(rejects.items())), report=written.report)


def _backend(config: QueriesConfig) -> Callable[[Sequence[Request]], Iterable[list[Answer]]]:
    if config.backend == "api":
        from pipelines.api_backend import api_backend

        return api_backend(config)
    from pipelines.llm_backend import llm_backend

    return llm_backend(config)


def _no_requests(requests: Sequence[Request]) -> Iterable[list[Answer]]:
    return [] if not requests else [[Answer(request.key, error="not_sent") for request in requests]]
