"""Settings of the encoder."""

from __future__ import annotations

from pydantic import Field

from patent_embed.section import Section


class ModelConfig(Section):
    name: str = Field("BAAI/bge-base-zh-v1.5", description="hub id, local folder, or 'bundled'")
    max_seq_length: int = Field(512, ge=16, description="longer texts are cut; never above what the model can read")
    query_prompt: str | None = Field(None, description="None: the model's own")
    passage_prompt: str | None = Field(None, description="None: the model's own")
    trust_remote_code: bool = Field(False, description="run code that comes with a model; only for sources you trust")
