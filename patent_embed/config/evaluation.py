"""Settings of the evaluation."""

from __future__ import annotations

from pydantic import Field

from patent_embed.section import Section


class EvaluationConfig(Section):
    bm25: bool = Field(True, description="also measure BM25 over jieba words, the lexical floor")
    query_sources: list[str] | None = Field(
        None,
        description="headline metrics over queries of these sources; None: all but rules where at least 50 such "
        "queries exist, since rule queries are lifted from the abstract and reward word overlap",
    )
    distributed: bool | None = Field(
        None,
        description="search in shards on Ray Data; None: where there are GPUs or several nodes and the search is large",
    )
