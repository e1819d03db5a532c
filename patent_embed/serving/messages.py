"""What the API takes and gives: the shapes of its JSON, from which its OpenAPI document is made."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from patent_embed.serving.engine import DEPTH, HYBRID

MOST_CHARS = 50_000
"""Characters of a text, at most."""

MOST_TEXTS = 2048
"""Texts of a request for embeddings, at most: what OpenAI's API takes."""

IPC = re.compile(r"[A-HY]([0-9]{2}([A-Z]([0-9]{1,4}(/[0-9]{2,6})?)?)?)?")
"""The beginning of a classification symbol."""

DAY = re.compile(r"([0-9]{4}(-[0-9]{2}(-[0-9]{2})?)?)?")
"""A day, a month or a year; or nothing."""

_WHOLE_DAY = f"^{DAY.pattern}$"


class Message(BaseModel):
    """A JSON object. A name that it does not have is an error."""

    model_config = ConfigDict(extra="forbid")


class SearchRequest(Message):
    """A search: a text, or a patent whose like are wanted."""

    query: str = Field("", max_length=MOST_CHARS, description="words, a question, a claim or a whole abstract")
    like: str = Field("", max_length=200, description="instead of a query: publication number of a patent")
    systems: list[Annotated[str, Field(max_length=100)]] = Field(
        default_factory=lambda: [HYBRID], min_length=1, max_length=8, description="tuned, base, bm25, hybrid"
    )
    count: int = Field(10, ge=1, le=DEPTH, description="results of each system")
    ipc: list[Annotated[str, Field(pattern=f"^{IPC.pattern}$")]] = Field(
        default_factory=list, max_length=50, description="beginnings of symbols, any of which a patent must have"
    )
    date_from: str = Field("", pattern=_WHOLE_DAY, description="first day of publication: 2015, 2015-06 or 2015-06-30")
    date_to: str = Field("", pattern=_WHOLE_DAY, description="last day of publication; 2015 is all of that year")


class SearchHit(Message):
    """A result. ``ranks``: where it stands in the other lists; null: not among the first 200."""

    publication_number: str
    rank: int
    score: float
    ranks: dict[str, int | None]
    title: str | None
    abstract: str | None
    codes: list[str]
    publication_date: str | None
    title_marks: list[tuple[int, int]] = Field(description="begin and end of the query's words, in characters")
    abstract_marks: list[tuple[int, int]]


class FacetCount(Message):
    """A value that a filter can have: how many of the first 200 results have it, and how many patents."""

    value: str
    results: int
    patents: int


class SearchResponse(Message):
    """What was found."""

    systems: dict[str, list[SearchHit]]
    patents: int = Field(description="that the filters let through")
    facets: dict[str, list[FacetCount]] = Field(description="of the first system's list")
    query_parts: int = Field(description="in how many parts a long query was read")
    query_cut: bool = Field(description="whether its end was left out")
    model: str = Field(description="digest of the vectors that were searched")
    seconds: dict[str, float]


class Record(Message):
    """A patent with all that is kept of it."""

    publication_number: str
    title: str | None
    abstract: str | None
    language: str | None
    codes: list[str] | None
    claims: list[str] | None
    description: str | None
    citations: list[str] | None
    citation_categories: list[str] | None
    family_id: str | None
    publication_date: str | None
    applicants: list[str] | None


class EmbeddingsRequest(BaseModel):
    """OpenAI's request for embeddings. What it does not know of that API (``user``), it ignores."""

    input: str | list[str] | list[int] | list[list[int]] = Field(
        description="a text or up to 2,048; tokens are refused"
    )
    model: str = Field(
        max_length=200,
        description="a model's name (tuned, base), also with its kind: tuned-query, tuned-document, base-query, …",
    )
    input_type: Literal["query", "document", "passage", "search_query", "search_document"] | None = Field(
        None, description="whose prompt is put before the texts; without it, what the model's name says, or document"
    )
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="so many numbers of each embedding, of length 1 again")


class Embedding(Message):
    """An embedding: numbers, or their float32 bytes (little-endian) in base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(Message):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(Message):
    """OpenAI's answer; and how many texts were as long as the model reads, so that their ends may not have been."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage
    texts_at_limit: int


class JudgementRequest(Message):
    """An answer to "is this what you looked for?"; null takes an earlier one back."""

    query: str = Field(min_length=1, max_length=MOST_CHARS)
    publication_number: str = Field(min_length=1, max_length=200)
    relevant: bool | None
    system: str = Field("", max_length=100)
    rank: int = Field(0, ge=0, le=DEPTH)


class JudgementResponse(Message):
    """How many judgements hold now."""

    judgements: int


class ReloadRequest(Message):
    """Another output folder, as the server's machine sees it; without it, the one that is served, read again."""

    output: str = Field("", max_length=2000)


class ReloadResponse(Message):
    """What is served now."""

    model: str
    patents: int


class Health(Message):
    """The server answers."""

    status: Literal["ok"] = "ok"
    patents: int
    systems: list[str]
    model: str


def error(message: str, kind: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """An error in the shape that OpenAI's clients read."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
