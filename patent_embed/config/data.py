"""Settings of reading: which patents, and how much of their abstracts."""

from __future__ import annotations

from pydantic import Field

from patent_embed.section import Section


class DataConfig(Section):
    data_dir: str = Field("data/embedding/微调数据-5753", description="folder or file with the patents")
    max_samples: int | None = Field(None, ge=2, description="use this many patents, chosen by a seeded hash of the id")
    min_abstract_chars: int = Field(20, ge=1, description="shorter abstracts are rejected")
    max_abstract_chars: int = Field(20_000, ge=100, description="longer abstracts are cut, and counted")
