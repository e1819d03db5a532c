"""Settings of the evaluation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from patent_embed.section import Role, Section


class EvaluationConfig(Section):
    """How base and tuned model are measured."""

    bm25: bool = Field(True, description="also measure BM25 over jieba words, the lexical floor")
    query_sources: list[str] | None = Field(
        None,
        description="headline metrics over queries of these sources (cache, llm, api, rules); None: all but rules "
        "where at least 50 such queries exist, since rule queries are lifted from the abstract and reward word overlap",
    )
    distributed: Annotated[bool | None, Role.LOGISTICS] = Field(
        None,
        description="search in shards on Ray Data; None: where there are GPUs or several nodes and the search is large",
    )
