"""The web application: routes over a ``Live`` engine. Starlette, behind a ``Guard``."""

from __future__ import annotations

import base64
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
import numpy as np
import orjson
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from patent_embed.arrays import Vectors
from patent_embed.config.model import Kind
from patent_embed.errors import UserError
from patent_embed.serving import messages, openapi, page
from patent_embed.serving.corpus import Filters
from patent_embed.serving.engine import Answer, Engine, Query
from patent_embed.serving.guard import COOKIE, Guard, Limits, has_token, same, session_of
from patent_embed.serving.highlight import spans
from patent_embed.serving.judgements import Judgement, qrels, query_lines
from patent_embed.serving.live import Live, digest_of

log = logging.getLogger("patent_embed")
M = TypeVar("M", bound=BaseModel)
_TEXTS_AT_ONCE = 32  # of a request for embeddings: between such pieces, searches of others get their turn
_KINDS: dict[str, Kind] = {"query": "query", "search_query": "query"}  # other input types are documents'
_REFUSED = "invalid_request_error"


def create_app(live: Live, limits: Limits) -> ASGIApp:
    """The application. What it answers from is ``live``; who and how much may be asked, ``limits`` say."""
    routes = _Routes(live, limits).table()
    app = Starlette(
        routes=routes,
        exception_handlers={HTTPException: _http_error, UserError: _user_error, Exception: _internal_error},
    )
    return Guard(app, limits, live.metrics, {route.path for route in routes})


class _Routes:
    def __init__(self, live: Live, limits: Limits) -> None:
        self._live, self._limits = live, limits
        self._threads: anyio.CapacityLimiter | None = None  # made in the event loop that it is of

    def table(self) -> list[Route]:
        get, post = ["GET"], ["POST"]
        return [
            Route("/", self._page, methods=get),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/static/{name}", _static, methods=get),
            Route("/patent", self._patent, methods=get),
            Route("/search", self._search, methods=post),
            Route("/v1/embeddings", self._embeddings, methods=post),
            Route("/v1/models", self._models, methods=get),
            Route("/judgements", self._judge, methods=post),
            Route("/judgements/qrels", partial(self._export, qrels), methods=get),
            Route("/judgements/queries", partial(self._export, query_lines), methods=get),
            Route("/reload", self._reload, methods=post),
            Route("/health", self._health, methods=get),
            Route("/metrics", self._metrics, methods=get),
            Route("/openapi.json", _openapi, methods=get),
            Route("/docs", _docs, methods=get),
        ]

    async def _thread(self, work: Callable[[], Any]) -> Any:
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._limits.requests)
        return await anyio.to_thread.run_sync(work, limiter=self._threads)

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(await self._thread(partial(page.search_page, self._live, request)))

    async def _login(self, request: Request) -> Response:
        if request.method == "GET" or not self._limits.token:
            return HTMLResponse(page.login_page(request, wrong=False))
        given = parse_qs((await request.body()).decode("utf-8", "replace")).get("token", [""])[0]
        if not same(given, self._limits.token):
            return HTMLResponse(page.login_page(request, wrong=True), 401)
        answer = Response(status_code=303, headers={"location": "/"})
        answer.set_cookie(COOKIE, session_of(self._limits.token), httponly=True, samesite="strict")
        return answer

    async def _patent(self, request: Request) -> Response:
        engine, number = self._live.engine, request.query_params.get("number", "")

        def read() -> dict[str, Any] | None:
            row = engine.corpus.row(number)
            return None if row is None else engine.corpus.records([row])[0]

        found = await self._thread(read)
        if found is None:
            raise HTTPException(404, "there is no such patent here")
        return _json(messages.Record(**found))

    async def _search(self, request: Request) -> Response:
        asked = await _parsed(request, messages.SearchRequest)
        filters = Filters(tuple(asked.ipc), asked.date_from, asked.date_to)
        query = Query(asked.query, asked.like, tuple(dict.fromkeys(asked.systems)), asked.count, filters)
        return _json(await self._thread(partial(search, self._live, query)))

    async def _embeddings(self, request: Request) -> Response:
        asked = await _parsed(request, messages.EmbeddingsRequest)
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        if not all(isinstance(text, str) and 0 < len(text) <= messages.MOST_CHARS for text in texts):
            raise UserError(
                f"input must be texts of 1 to {messages.MOST_CHARS:,} characters, not tokens of another model's "
                "tokenizer; in LangChain set check_embedding_ctx_length=False"
            )
        if not 0 < len(texts) <= messages.MOST_TEXTS:
            raise UserError(f"input has {len(texts)} texts; give 1 to {messages.MOST_TEXTS:,}")
        return _json(await self._embedded(self._live.engine, asked, [str(text) for text in texts]))

    async def _embedded(
        self, engine: Engine, asked: messages.EmbeddingsRequest, texts: list[str]
    ) -> messages.EmbeddingsResponse:
        name, kind = model_and_kind(engine, asked.model, asked.input_type)
        encoder, rows = engine.models[name].encoder, list[Vectors]()
        if asked.dimensions is not None and asked.dimensions > encoder.dim:
            raise UserError(f"dimensions is {asked.dimensions}, the model {name!r} has {encoder.dim}; ask for fewer")
        tokens = at_limit = 0
        for begin in range(0, len(texts), _TEXTS_AT_ONCE):
            waited = encoder.submit(texts[begin : begin + _TEXTS_AT_ONCE], kind).result
            found = await self._thread(waited)
            rows.append(found.vectors[:, : asked.dimensions])
            tokens, at_limit = tokens + int(found.tokens.sum()), at_limit + int(found.cut.sum())
        vectors = np.concatenate(rows)
        if asked.dimensions is not None:
            vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        self._live.metrics.texts.inc(len(texts))
        self._live.metrics.tokens.inc(tokens)
        return messages.EmbeddingsResponse(
            data=[
                messages.Embedding(index=at, embedding=_as_asked(vector, asked.encoding_format))
                for at, vector in enumerate(vectors)
            ],
            model=asked.model,
            usage=messages.Usage(prompt_tokens=tokens, total_tokens=tokens),
            texts_at_limit=at_limit,
        )

    async def _models(self, request: Request) -> Response:
        names = [f"{name}{kind}" for name in self._live.engine.models for kind in ("", "-query", "-document")]
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "patent-embed"} for name in names]
        return JSONResponse({"object": "list", "data": data})

    async def _judge(self, request: Request) -> Response:
        asked, kept, engine = (
            await _parsed(request, messages.JudgementRequest),
            self._live.judgements,
            self._live.engine,
        )
        if kept is None:
            raise HTTPException(409, "this server keeps no judgements: start it with --judgements FILE")
        if await self._thread(partial(engine.corpus.row, asked.publication_number)) is None:
            raise HTTPException(404, "there is no such patent here")
        await self._thread(partial(kept.append, Judgement(**asked.model_dump(), model=digest_of(engine))))
        verdict = {True: "relevant", False: "not relevant", None: "taken back"}[asked.relevant]
        self._live.metrics.judgements.labels(verdict).inc()
        return _json(messages.JudgementResponse(judgements=len(kept)))

    async def _export(self, written: Callable[[list[Judgement]], str], request: Request) -> Response:
        kept = self._live.judgements
        return PlainTextResponse(written(kept.current() if kept else []))

    async def _reload(self, request: Request) -> Response:
        # A cookie does not do: what a browser sends by itself must not change the model.
        if not self._limits.token or not has_token(self._limits.token, request.headers):
            raise HTTPException(403, "reload needs the server's token in Authorization, so a server with one")
        asked = await _parsed(request, messages.ReloadRequest)
        try:
            engine = await self._thread(partial(self._live.reload, asked.output))
        except Exception as error:  # noqa: BLE001  # messages name paths of this machine: they go to the log alone
            log.error("reload refused: %s", error)
            raise HTTPException(
                409, "the run was not taken, the one before is served on; the server's log says why"
            ) from None
        return _json(messages.ReloadResponse(model=digest_of(engine), patents=len(engine.corpus)))

    async def _health(self, request: Request) -> Response:
        engine = self._live.engine
        return _json(messages.Health(patents=len(engine.corpus), systems=list(engine.systems), model=digest_of(engine)))

    async def _metrics(self, request: Request) -> Response:
        return Response(self._live.metrics.text(), media_type="text/plain; version=0.0.4")


def search(live: Live, query: Query) -> messages.SearchResponse:
    """Ask the engine, and tell the metrics."""
    engine = live.engine
    answer = engine.search(query)
    for stage, seconds in answer.seconds.items():
        live.metrics.stages.labels(stage).observe(seconds)
    return response_of(engine, answer)


def response_of(engine: Engine, answer: Answer) -> messages.SearchResponse:
    """An answer with the texts of its results."""
    rows = list(dict.fromkeys(hit.row for hits in answer.lists.values() for hit in hits))
    names = ("publication_number", "title", "abstract", "codes", "publication_date")
    records = dict(zip(rows, engine.corpus.records(rows, *names), strict=True))
    about = {
        row: {
            **record,
            "codes": record["codes"] or [],
            "title_marks": spans(record["title"] or "", answer.marked),
            "abstract_marks": spans(record["abstract"] or "", answer.marked),
        }
        for row, record in records.items()
    }
    return messages.SearchResponse(
        systems={
            name: [
                messages.SearchHit(**about[hit.row], rank=hit.rank, score=hit.score, ranks=dict(hit.ranks))
                for hit in hits
            ]
            for name, hits in answer.lists.items()
        },
        patents=answer.patents,
        facets={level: [messages.FacetCount(**vars(f)) for f in found] for level, found in answer.facets.items()},
        query_parts=answer.parts,
        query_cut=answer.cut,
        model=digest_of(engine),
        seconds={stage: round(seconds, 5) for stage, seconds in answer.seconds.items()},
    )


def model_and_kind(engine: Engine, model: str, input_type: str | None) -> tuple[str, Kind]:
    """``tuned-query`` → ("tuned", "query"). What ``input_type`` says comes before what the name says.

    Raises:
        UserError: there is no such model.
    """
    name, kind = model, "document"
    for each in ("query", "document"):
        if model not in engine.models and model.endswith(f"-{each}"):
            name, kind = model.removesuffix(f"-{each}"), each
    if name not in engine.models:
        known = ", ".join(f"{known}, {known}-query, {known}-document" for known in engine.models)
        raise UserError(f"model {model!r} is not served here; ask for one of {known}")
    return name, _KINDS.get(input_type or kind, "passage")


def _as_asked(vector: Vectors, encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return [float(value) for value in vector]


async def _parsed(request: Request, message: type[M]) -> M:
    """The body as a message. Only JSON that says so: what a form of another page can send is none."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "send JSON, with content-type: application/json")
    try:
        return message.model_validate_json(await request.body() or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise HTTPException(400, f"{where}: {first['msg']}" if where else first["msg"]) from None


def _json(message: BaseModel) -> Response:
    return Response(orjson.dumps(message.model_dump()), media_type="application/json")


async def _static(request: Request) -> Response:
    found = page.STATIC.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404, "there is no such file")
    content, media_type = found
    return Response(content, media_type=media_type, headers={"cache-control": "max-age=31536000, immutable"})


async def _openapi(request: Request) -> Response:
    return Response(orjson.dumps(openapi.document()), media_type="application/json")


async def _docs(request: Request) -> Response:
    return HTMLResponse(page.docs_page(request))


_Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = _REFUSED if error.status_code < 500 else "server_error"
    return JSONResponse(messages.error(error.detail, kind), error.status_code, error.headers)


async def _user_error(request: Request, error: Exception) -> Response:
    return JSONResponse(messages.error(str(error), _REFUSED), 400)


async def _internal_error(request: Request, error: Exception) -> Response:
    return JSONResponse(messages.error("the server failed; its log says how", "server_error"), 500)
