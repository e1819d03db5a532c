"""Settings of the encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from patent_embed.section import Cli, Role, Section, UserPath

Kind = Literal["passage", "query"]  # of a text: whose prompt it gets


class ModelConfig(Section):
    """The encoder that training starts from, and what it reads."""

    name: Annotated[str, UserPath, Cli("model_name"), Role.LOGISTICS] = Field(
        "BAAI/bge-base-zh-v1.5",
        description="hub id (Hugging Face, then ModelScope), local folder, or 'bundled': the small encoder that needs "
        "no hub",
    )
    max_seq_length: int = Field(
        512, ge=16, description="tokens of a text; longer texts are cut; never above what the model can read"
    )
    query_prompt: str | None = Field(None, description="text put before every query; None: the model's own")
    passage_prompt: str | None = Field(None, description="text put before every abstract; None: the model's own")
    trust_remote_code: bool = Field(False, description="run code that comes with a model; only for sources you trust")
