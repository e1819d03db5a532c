"""A small OpenAI-compatible server that misbehaves on request, for tests.

What it does with a request is chosen by a word in the user's message: a script lists, for a word, what happens on the
first, second, ... request with it; the last entry stays. Without a word it answers at once.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """What is sent in place of a completion."""

    status: int
    body: str
    kind: str = "application/json"


def refusal(status: int, message: str, **more: Any) -> Reply:
    """An error as OpenAI writes them."""
    return Reply(status, json.dumps({"error": {"message": message} | more}))


def events(*chunks: str, finish: str = "stop", end: bool = True) -> Reply:
    """A completion as a stream, sent whole."""
    pieces: list[Any] = [{"choices": [{"index": 0, "delta": {"content": chunk}}]} for chunk in chunks]
    pieces.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
    pieces.append({"choices": [], "usage": {"prompt_tokens": 100, "completion_tokens": 10}})
    lines = [f"data: {json.dumps(piece)}" for piece in (pieces if end else pieces[:-2])]
    return Reply(200, "\n\n".join([": ping", *lines, *(["data: [DONE]"] if end else [])]) + "\n\n", "text/event-stream")


class OpenAiServer:
    """``with OpenAiServer(script, answer) as server``: ``server.url`` is the base URL, ``server.calls`` counts by word.

    ``answer`` is a function of the user's message. Behaviours: "ok", "slow" (2 s), "500 json", "500 text", "400", "429"
    (Retry-After: 1), "drop" (closed without an answer), "torn" (half the JSON), "no choices", "text" (200, no JSON),
    "empty" (an empty message), "drip" (a byte now and then), "number" (as content), "choices text", "absurd"
    (counts of tokens), "deep" (JSON), "surrogate" (half of one), "429 for ever" (Retry-After), "401" (which repeats the
    key, as some servers do), "cut" (finish_reason length), "thinking" (a draft before the answer), "drafts" (the whole
    answer beside the content), or a ``Reply``. ``check`` looks at each request's body first, and may give a reply.
    """

    def __init__(
        self,
        script: Mapping[str, Sequence[str | Reply]],
        answer: Any,
        delay: float = 0.0,
        check: Callable[[dict[str, Any]], Reply | None] = lambda body: None,
    ) -> None:
        self.script, self.answer, self.delay, self.check = script, answer, delay, check
        self.bodies: list[dict[str, Any]] = []
        self.calls: Counter[str] = Counter()
        self.times: dict[str, list[float]] = {}
        self.total = 0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.handle(self)

            def do_GET(self) -> None:
                server.look(self)

            def log_message(self, *args: Any) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *args: Any) -> None:
                pass

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def look(self, http: BaseHTTPRequestHandler) -> None:
        """Nothing is to be looked at here."""
        self._send(http, 404, '{"error": {"message": "no such page"}}')

    def handle(self, http: BaseHTTPRequestHandler) -> None:
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        message = body["messages"][-1]["content"]
        word = next((word for word in self.script if word in message), "")
        with self.lock:
            behaviours = self.script.get(word, ["ok"])
            behaviour = self.check(body) or behaviours[min(self.calls[word], len(behaviours) - 1)]
            self.bodies.append(body)
            self.calls[word] += 1
            self.total += 1
            self.times.setdefault(word, []).append(time.monotonic())
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            time.sleep(2 if behaviour == "slow" else self.delay)
            self._behave(http, behaviour, message)
        finally:
            with self.lock:
                self.at_once -= 1

    def _behave(self, http: BaseHTTPRequestHandler, behaviour: str | Reply, message: str) -> None:
        if isinstance(behaviour, Reply):
            self._send(http, behaviour.status, behaviour.body, behaviour.kind)
            return
        content = "" if behaviour == "empty" else self.answer(message)
        whole: dict[str, Any] = {
            "id": "x",
            "object": "chat.completion",
            "created": 0,
            "model": "m",
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
            "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
        }
        said = whole["choices"][0]["message"]
        if behaviour == "cut":
            whole["choices"][0]["finish_reason"] = "length"
        elif behaviour == "thinking":
            said["content"] = 'perhaps {"query": "a draft"}, or not\n</think>\n' + content
        elif behaviour == "drafts":
            said |= {"content": None, "reasoning_content": content}
        text = json.dumps(whole)
        if behaviour == "drop":
            http.close_connection = True
            http.connection.close()
        elif behaviour == "torn":
            self._send(http, 200, text[: len(text) // 2])
        elif behaviour == "text":
            self._send(http, 200, "upstream is busy", "text/plain")
        elif behaviour == "no choices":
            self._send(http, 200, json.dumps(whole | {"choices": []}))
        elif behaviour == "drip":
            self._drip(http)
        elif behaviour == "number":
            whole["choices"][0]["message"]["content"] = 7
            self._send(http, 200, json.dumps(whole))
        elif behaviour == "choices text":
            self._send(http, 200, json.dumps(whole | {"choices": content}))
        elif behaviour == "absurd":
            usage = {"prompt_tokens": 10**30, "completion_tokens": -5, "total_tokens": "many"}
            self._send(http, 200, json.dumps(whole | {"usage": usage}))
        elif behaviour == "deep":
            self._send(http, 200, '{"choices": ' + "[" * 100_000 + "]" * 100_000 + "}")
        elif behaviour == "surrogate":
            self._send(http, 200, text.replace('\\"query\\": \\"', '\\"query\\": \\"\\ud800'))
        elif behaviour == "429 for ever":
            self._send(http, 429, '{"error": {"message": "slow down"}}', retry_after="1e400")
        elif behaviour == "429":
            self._send(http, 429, '{"error": {"message": "slow down"}}', retry_after="1")
        elif behaviour == "400":
            self._send(http, 400, '{"error": {"message": "context length exceeded"}}')
        elif behaviour == "500 json":
            self._send(http, 500, '{"choices": [], "error": {"message": "oops"}}')
        elif behaviour == "500 text":
            self._send(http, 500, "<html>oops</html>", "text/html")
        elif behaviour == "401":
            key = http.headers["Authorization"].removeprefix("Bearer ")
            self._send(http, 401, json.dumps({"error": {"message": f"Incorrect API key provided: {key}"}}))
        else:
            self._send(http, 200, text)

    def _drip(self, http: BaseHTTPRequestHandler) -> None:
        http.send_response(200)
        http.send_header("Content-Length", "100000")
        http.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(100):
                http.wfile.write(b" ")
                time.sleep(0.2)

    def _send(
        self,
        http: BaseHTTPRequestHandler,
        status: int,
        body: str,
        kind: str = "application/json",
        retry_after: str = "",
    ) -> None:
        content = body.encode()
        http.send_response(status)
        http.send_header("Content-Type", kind)
        http.send_header("Content-Length", str(len(content)))
        if retry_after:
            http.send_header("Retry-After", retry_after)
        http.end_headers()
        http.wfile.write(content)
