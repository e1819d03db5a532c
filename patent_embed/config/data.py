"""Settings of reading: which patents, and how much of their abstracts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from patent_embed.section import Cli, Role, Section


class DataConfig(Section):
    """Which patents are read, and how much of their abstracts."""

    data_dir: Annotated[str, Cli("data_dir"), Role.LOGISTICS] = Field(
        "data/embedding/微调数据-5753",
        description="folder (searched recursively) or file with the patents: .json .jsonl .json[l].gz .parquet; also "
        "s3://, gs://, hdfs://",
    )
    max_samples: Annotated[int | None, Cli("max_samples")] = Field(
        None, ge=2, description="use this many patents, chosen by a seeded hash of their numbers; None: all"
    )
    min_abstract_chars: int = Field(
        20, ge=1, description="patents whose abstract has fewer characters are rejected (and counted)"
    )
    max_abstract_chars: int = Field(
        20_000, ge=100, description="abstracts with more characters are cut there (and counted)"
    )
