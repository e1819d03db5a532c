"""What of the settings reaches the parser, and what of them is in a digest."""

from __future__ import annotations

from patent_embed.config.data import DataConfig
from patent_embed.data.fields import FieldNames
from patent_embed.data.parsers import parser_of, reading_settings


def test_the_parser_is_as_the_settings_say() -> None:
    config = DataConfig(
        min_abstract_chars=1,
        max_abstract_chars=200,
        max_claims_chars=3,
        max_description_chars=4,
        fields={"abstract": "文摘"},
    )
    parser = parser_of(config)
    found = (parser.min_abstract_chars, parser.max_abstract_chars, parser.max_claims_chars)
    assert (*found, parser.max_description_chars) == (1, 200, 3, 4)
    assert parser.names == FieldNames.of({"abstract": "文摘"})


def test_names_of_fields_are_in_a_digest_only_where_they_are_set() -> None:
    bounds = {"min_abstract_chars": 20, "max_abstract_chars": 20_000}
    kept = {"max_claims_chars": 20_000, "max_description_chars": 4000}
    assert reading_settings(DataConfig(data_dir="x")) == bounds | kept | {"max_samples": None}
    named = reading_settings(DataConfig(fields={"title": "题"}))
    assert named == bounds | kept | {"max_samples": None, "fields": {"title": "题"}}
