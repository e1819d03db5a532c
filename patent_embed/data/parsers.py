"""The parser of patents that the settings ask for, and what of them changes what it reads."""

from __future__ import annotations

from typing import Any

from patent_embed.config.data import DataConfig
from patent_embed.data.fields import FieldNames
from patent_embed.data.records import RecordParser
from patent_embed.section import Role, names_by_role


def parser_of(config: DataConfig, kind: type[RecordParser] = RecordParser) -> RecordParser:
    """Reads patents to train on, or another ``kind`` of them."""
    return kind(
        config.min_abstract_chars,
        config.max_abstract_chars,
        names=FieldNames.of(config.fields.named()),
        max_claims_chars=config.max_claims_chars,
        max_description_chars=config.max_description_chars,
    )


def reading_settings(config: DataConfig) -> dict[str, Any]:
    """What of the settings is part of a digest; names of fields only where some are set."""
    settings = config.model_dump(exclude=names_by_role(DataConfig, Role.LOGISTICS) | {"fields"})
    named = config.fields.named()
    return settings | ({"fields": named} if named else {})
