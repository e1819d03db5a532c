"""Settings of the encoder."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Literal

from pydantic import Field, field_validator

from patent_embed.section import Cli, Role, Section, UserPath

Kind = Literal["passage", "query"]  # of a text: whose prompt it gets

VIEW_FIELDS = ("title", "abstract", "claim", "claims", "description")
ABSTRACT = "abstract"  # the view that everything had before there were others
NAMED_VIEWS = {
    ABSTRACT: "{abstract}",
    "title+abstract": "{title}\n{abstract}",
    "title+abstract+claim": "{title}\n{abstract}\n{claim}",
}


def view_fields(view: str) -> list[str]:
    """The fields that a view reads, in their order. Raises ValueError for a template that cannot be filled."""
    parts = list(Formatter().parse(NAMED_VIEWS.get(view, view)))
    fields = [(name, form or "", how or "") for _, name, form, how in parts if name is not None]
    if odd := [name for name, *more in fields if any(more) or name not in VIEW_FIELDS]:
        known = ", ".join(f"{{{name}}}" for name in VIEW_FIELDS)
        raise ValueError(
            f"passage_view {view!r} names {{{odd[0]}}}, which is no field of a patent as it is: use {known}"
        )
    return list(dict.fromkeys(name for name, *_ in fields))


class ModelConfig(Section):
    """The encoder that training starts from, and what it reads."""

    name: Annotated[str, UserPath, Cli("model_name"), Role.LOGISTICS] = Field(
        "BAAI/bge-base-zh-v1.5",
        description="hub id (Hugging Face, then ModelScope), local folder, or 'bundled': the small encoder that needs "
        "no hub, of Chinese and ASCII text; 'bundled-multilingual': the same with its whole vocabulary, for Korean, "
        "Japanese and other scripts, 235 MB",
    )
    max_seq_length: int = Field(
        512, ge=16, description="tokens of a text; longer texts are cut; never above what the model can read"
    )
    passage_view: str = Field(
        ABSTRACT,
        description="what is searched of a patent: abstract, title+abstract, title+abstract+claim (its first one), or "
        "a template of lines such as '{title}\\n{abstract}' over title, abstract, claim, claims and description; a "
        "line with a field that a patent has not is left out",
    )
    passages_per_patent: int = Field(
        1,
        ge=1,
        le=64,
        description="a text that is longer than the model reads is cut into so many passages at most, at ends of "
        "sentences, each with a vector of its own, and the best of a patent's passages counts in a search; 1: its "
        "beginning alone. Trainings read the beginning, whatever this is",
    )
    query_prompt: str | None = Field(None, description="text put before every query; None: the model's own")
    passage_prompt: str | None = Field(None, description="text put before every abstract; None: the model's own")
    trust_remote_code: bool = Field(False, description="run code that comes with a model; only for sources you trust")

    @field_validator("passage_view")
    @classmethod
    def _view_shows_something(cls, value: str) -> str:
        if not view_fields(value):
            raise ValueError(
                f"passage_view {value!r} shows no field, so all patents would be alike; write one of "
                f"{', '.join(NAMED_VIEWS)}, or a template such as '{{title}} {{abstract}}'"
            )
        if "abstract" not in view_fields(value):
            raise ValueError(
                f"passage_view {value!r} is without {{abstract}}, the one text that every patent has; add it"
            )
        return value
