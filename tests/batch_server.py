"""An OpenAI-compatible server with a Batch API, for tests."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.openai_server import OpenAiServer


class BatchServer(OpenAiServer):
    """Batches are answered once ``ready`` is set. ``batches``: what was submitted, by the endpoint's name of it.

    ``result`` makes of a request's body and its answer the ``response`` of its line; None leaves the line out.
    ``hold_s``: how long the client waits after a batch is made, until it hears of it.
    """

    def __init__(
        self,
        answer: Any,
        result: Callable[[dict[str, Any], dict[str, Any]], dict[str, Any] | None] = lambda body, whole: {
            "status_code": 200,
            "body": whole,
        },
    ) -> None:
        super().__init__({}, answer)
        self.result = result
        self.ready = False
        self.status = "completed"
        self.hold_s = 0.0
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}

    def handle(self, http: BaseHTTPRequestHandler) -> None:
        """A completion, a file or a batch."""
        if http.path.endswith("/chat/completions"):
            super().handle(http)
            return
        content = http.rfile.read(int(http.headers["Content-Length"]))
        if http.path.endswith("/files"):
            boundary = http.headers["Content-Type"].split("boundary=")[1].encode()
            part = next(part for part in content.split(b"--" + boundary) if b"filename=" in part)
            name = f"file-{len(self.files)}"
            self.files[name] = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            self._send(http, 200, json.dumps({"id": name, "object": "file", "bytes": 1, "created_at": 0}))
            return
        asked = json.loads(content)
        name = f"batch-{len(self.batches)}"
        self.batches[name] = {"input": asked["input_file_id"], "metadata": asked["metadata"]}
        time.sleep(self.hold_s)
        self._send(http, 200, json.dumps(self._state(name)))

    def look(self, http: BaseHTTPRequestHandler) -> None:
        """A batch, the list of them, or what a file holds."""
        last = http.path.split("?")[0].removesuffix("/content").rpartition("/")[2]
        if "/files/" in http.path:
            self._send(http, 200, self.files[last].decode(), "application/jsonl")
        elif last == "batches":
            states = [self._state(name) for name in self.batches]
            self._send(http, 200, json.dumps({"object": "list", "data": states, "has_more": False}))
        else:
            self._send(http, 200, json.dumps(self._state(last)))

    def requests(self) -> list[str]:
        """Ids of all requests in batches, as often as they were submitted."""
        lines = [line for batch in self.batches.values() for line in self.files[batch["input"]].splitlines()]
        return [json.loads(line)["custom_id"] for line in lines]

    def _state(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        status = self.status if self.ready else "in_progress"
        if status in ("completed", "expired") and "output" not in batch:
            batch["output"] = f"{name}-output"
            self.files[batch["output"]] = self._answered(self.files[batch["input"]])
        failed = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}
        return {
            "id": name,
            "object": "batch",
            "created_at": 0,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "input_file_id": batch["input"],
            "metadata": batch["metadata"],
            "status": status,
            "errors": failed if status == "failed" else None,
            "output_file_id": batch.get("output"),
        }

    def _answered(self, content: bytes) -> bytes:
        lines = []
        for line in content.splitlines():
            asked = json.loads(line)
            text = self.answer(asked["body"]["messages"][-1]["content"])
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            whole = {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}
            response = self.result(asked["body"], whole)
            if response is not None:
                lines.append(json.dumps({"id": "x", "custom_id": asked["custom_id"], "response": response}))
        return "\n".join(reversed(lines)).encode()
