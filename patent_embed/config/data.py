"""Settings of reading: which patents, from which fields, and how much of their texts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from patent_embed.section import Cli, Role, Section, UserPath


class FieldsConfig(Section):
    """Names that the source has for its fields, where the usual ones are not meant: ``data.fields.abstract=摘要文本``.

    A field that is named here is read from there alone. Dots lead into objects: ``biblio.title``.
    """

    publication_number: str | None = Field(
        None, min_length=1, description="field with the publication number; None: its usual names"
    )
    title: str | None = Field(None, min_length=1, description="field with the title; None: its usual names")
    abstract: str | None = Field(None, min_length=1, description="field with the abstract; None: its usual names")
    classifications: str | None = Field(
        None, min_length=1, description="field with IPC or CPC codes; None: all fields with a usual name of theirs"
    )
    claims: str | None = Field(None, min_length=1, description="field with the claims; None: their usual names")
    description: str | None = Field(None, min_length=1, description="field with the description; None: its usual names")
    citations: str | None = Field(
        None, min_length=1, description="field with the numbers of cited patents; None: its usual names"
    )
    family_id: str | None = Field(
        None, min_length=1, description="field whose value all members of a family share; None: its usual names"
    )
    publication_date: str | None = Field(
        None, min_length=1, description="field with the date of publication; None: its usual names"
    )
    applicants: str | None = Field(None, min_length=1, description="field with the applicants; None: its usual names")

    def named(self) -> dict[str, str]:
        """Field → the source's name of it, of those that are set."""
        return {field: name for field, name in self.model_dump().items() if name is not None}


class DataConfig(Section):
    """Which patents are read, from which fields, and how much of their texts."""

    data_dir: Annotated[str, UserPath, Cli("data_dir"), Role.LOGISTICS] = Field(
        "data/embedding/微调数据-5753",
        description="folder (searched recursively) or file with the patents: JSON, JSON lines, CSV, TSV, Excel, XML or "
        "Parquet, also .gz and .zip; also s3://, gs://, hdfs://",
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
    max_claims_chars: int = Field(
        20_000,
        ge=0,
        description="claims are kept with a patent up to so many characters together, the first one at least in part; "
        "0: none",
    )
    max_description_chars: int = Field(
        4000,
        ge=0,
        description="so many characters of a description's beginning are kept with a patent: whole ones can be larger "
        "than all else together; 0: none",
    )
    fields: FieldsConfig = Field(default_factory=FieldsConfig)

    @model_validator(mode="after")
    def _some_length_is_left(self) -> DataConfig:
        if self.min_abstract_chars > self.max_abstract_chars:
            raise ValueError(
                f"min_abstract_chars {self.min_abstract_chars} is above max_abstract_chars {self.max_abstract_chars}: "
                "no abstract would do; set it below"
            )
        return self
