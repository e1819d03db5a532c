"""`patent-embed serve` as a process, and a client of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import httpx

from tests.conftest import ROOT

PROGRAM = [sys.executable, "-c", "import sys; from pipelines.cli import program; sys.exit(program())"]


class Server:
    """A running command, what it says, and a client of it."""

    def __init__(self, *arguments: object, token: str = "") -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, "serve", *map(str, arguments), "--port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PATENT_EMBED_TOKEN": token},
        )
        self.said: list[str] = []
        self._came = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        self.url = ""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(headers=headers, timeout=120)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in chain(self.process.stdout, ["the process has ended"]):
            with self._came:
                self.said.append(line)
                self._came.notify_all()

    def wait_for(self, words: str) -> str:
        with self._came:
            found = self._came.wait_for(
                lambda: next((x for x in self.said if words in x), "") or "ended" in "".join(self.said[-1:]), 300
            )
        assert isinstance(found, str), "".join(self.said)
        return found


@contextmanager
def server(*arguments: object, token: str = "") -> Iterator[Server]:
    running = Server(*arguments, token=token)
    try:
        running.url = re.search(r"http://[\d.:]+", running.wait_for("page "))[0]  # type: ignore[index]
        running.client.base_url = httpx.URL(running.url)
        yield running
    finally:
        running.process.kill()
        running.process.wait()
