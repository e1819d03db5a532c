"""The OpenAPI document of the server, from the messages that it takes and gives."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from patent_embed import __version__
from patent_embed.serving import messages as m


@dataclass(frozen=True)
class Operation:
    """A way to ask: what it does, and the messages that it takes and gives (None: text)."""

    method: str
    path: str
    summary: str
    takes: type[BaseModel] | None = None
    gives: type[BaseModel] | None = None
    query: tuple[str, ...] = ()


OPERATIONS = (
    Operation("post", "/search", "Search by one or several systems", m.SearchRequest, m.SearchResponse),
    Operation("get", "/patent", "All that is kept of a patent", None, m.Record, ("number",)),
    Operation(
        "post",
        "/v1/embeddings",
        "Embeddings, as OpenAI's API gives them, with the prompt of queries or documents",
        m.EmbeddingsRequest,
        m.EmbeddingsResponse,
    ),
    Operation("get", "/v1/models", "The models' names, as OpenAI's API gives them"),
    Operation("post", "/judgements", "Keep whether a result is relevant", m.JudgementRequest, m.JudgementResponse),
    Operation("get", "/judgements/qrels", "All judgements that hold, in TREC's format"),
    Operation("get", "/judgements/queries", "The judged queries: id, tab, text"),
    Operation("post", "/reload", "Serve another run, or the same one read again", m.ReloadRequest, m.ReloadResponse),
    Operation("get", "/health", "Whether the server answers, and what it serves", None, m.Health),
    Operation("get", "/metrics", "Counters and clocks for Prometheus"),
)


@cache
def document() -> dict[str, Any]:
    """The document, in version 3.1."""
    taken = [each.takes for each in OPERATIONS if each.takes]
    given = [each.gives for each in OPERATIONS if each.gives]
    _, schemas = models_json_schema(
        [*((each, "validation") for each in taken), *((each, "serialization") for each in given)],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, Any] = {}
    for each in OPERATIONS:
        paths.setdefault(each.path, {})[each.method] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "patent-embed", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _operation(each: Operation) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(each.gives)}} if each.gives else {"text/plain": {}}
    about: dict[str, Any] = {"summary": each.summary, "responses": {"200": {"description": "OK", "content": content}}}
    about["responses"]["4XX"] = {"description": "refused: error.message says why"}
    if each.takes:
        body = {"application/json": {"schema": _reference(each.takes)}}
        about["requestBody"] = {"required": True, "content": body}
    if each.query:
        about["parameters"] = [
            {"name": name, "in": "query", "required": True, "schema": {"type": "string"}} for name in each.query
        ]
    return about


def _reference(message: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{message.__name__}"}
