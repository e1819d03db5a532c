"""What stands before every route: who may ask, how much at once, how large, and what a browser is told."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from patent_embed.serving.messages import error
from patent_embed.serving.metrics import Metrics

TOKEN = "PATENT_EMBED_TOKEN"
"""The environment's variable that holds a server's token."""

COOKIE = "patent_embed"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_SECONDS_FOR_A_BODY = 30.0
_OPEN = ("/health", "/login", "/static/search.css", "/static/search.js")  # to be had without the token
_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")
_PORT = re.compile(r":\d*$")


@dataclass(frozen=True)
class Limits:
    """What a server takes.

    Attributes:
        token: what a client must know; empty: everybody on this machine may ask, and ``reload`` is closed.
        requests: answered at once; one more is told to come again.
        body: bytes of a request, at most.
    """

    token: str = ""
    requests: int = 32
    body: int = 4 << 20


def session_of(token: str) -> str:
    """What a browser's cookie holds instead of the token."""
    return hmac.new(token.encode(), b"patent-embed session", hashlib.sha256).hexdigest()


def has_token(token: str, headers: Mapping[str, str]) -> bool:
    """Whether a request carries the token itself, compared in constant time."""
    scheme, _, given = headers.get("authorization", "").partition(" ")
    return scheme.lower() == "bearer" and same(given.strip(), token)


def same(given: str, expected: str) -> bool:
    """Whether two secrets are equal; how long that takes tells nothing of the one that is expected."""
    return hmac.compare_digest(given.encode(), expected.encode())


class Guard:
    """An ASGI application around another one, which gets only requests that may be answered, with their whole body."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics, paths: Collection[str]) -> None:
        """``paths``: of the routes, by which answers are counted: clients must not be able to add names without end."""
        self._app, self._limits, self._metrics, self._paths = app, limits, metrics, paths
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            await self._answer(scope, receive, told)
        finally:
            route = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if (refusal := self._refusal(scope, headers)) is not None:
            await refusal(scope, receive, send)
            return
        counted = scope["path"] != "/health"
        if counted and self._running >= self._limits.requests:
            message = f"{self._limits.requests} requests are being answered already; ask again in a moment"
            busy = JSONResponse(error(message, "server_busy"), 503, {"retry-after": "1"})
            await busy(scope, receive, send)
            return
        self._running += counted
        self._metrics.running.set(self._running)
        try:
            body = await self._body(headers, receive)
            if isinstance(body, Response):
                await body(scope, receive, send)
            else:
                await self._app(scope, _replay(body, receive), send)
        finally:
            self._running -= counted
            self._metrics.running.set(self._running)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._limits.token:
            # A page elsewhere whose name was made to point here has another name in its requests.
            if _PORT.sub("", headers.get("host", "")) not in _LOCAL_NAMES:
                return JSONResponse(error("this server answers to local names only", "forbidden"), 403)
            return None
        if scope["path"] in _OPEN or has_token(self._limits.token, headers) or self._has_cookie(headers):
            return None
        if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
            return Response(status_code=303, headers={"location": "/login"})
        message = "a token is needed: Authorization: Bearer TOKEN"
        return JSONResponse(error(message, "invalid_request_error", code="invalid_api_key"), 401)

    def _has_cookie(self, headers: Headers) -> bool:
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return found is not None and same(found.value, session_of(self._limits.token))

    async def _body(self, headers: Headers, receive: Receive) -> bytes | Response:
        too_large = JSONResponse(
            error(f"a request has {self._limits.body:,} bytes at most", "invalid_request_error"), 413
        )
        told = headers.get("content-length", "0")
        if not told.isdecimal() or int(told) > self._limits.body:
            return too_large
        body = bytearray()
        try:
            async with asyncio.timeout(_SECONDS_FOR_A_BODY):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return Response(status_code=400)
                    body += message.get("body", b"")
                    if len(body) > self._limits.body:
                        return too_large
                    if not message.get("more_body", False):
                        return bytes(body)
        except TimeoutError:
            return JSONResponse(error("the request's body did not come", "invalid_request_error"), 408)


def _replay(body: bytes, receive: Receive) -> Receive:
    """``receive`` of a request whose body is there."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return waiting.pop() if waiting else await receive()

    return next_message
