"""Patents, an endpoint that writes good queries for them, and the settings that lead there."""

from __future__ import annotations

import hashlib
import itertools
import json
import re

import pyarrow as pa
from pydantic import SecretStr

from patent_embed.config.queries import ApiConfig, QueriesConfig
from patent_embed.data import sample
from tests.openai_server import OpenAiServer

KEY = "sk-secret-0123456789abcdef"
PLAIN = {item["abstract"]: sample.query(5, i) for i, item in enumerate(sample.generate(400, seed=5))}


def answer(message: str) -> str:
    """A good query for the patent in a prompt."""
    given = message.split("摘要: ")[1].split("\n")[0]
    abstract = re.sub(r"【\S+】", "", given)
    # With a model number of its own, no query is a near-duplicate of another.
    return json.dumps({"query": PLAIN[abstract][:40] + hashlib.md5(given.encode()).hexdigest()[:12]})


def corpus(count: int, words: dict[int, str] | None = None) -> pa.Table:
    """Generated patents; ``words`` puts a word for the server into some abstracts."""
    rows = [
        {
            "publication_number": item["publication_number"],
            "title": item["title"],
            "abstract": item["abstract"] + (f"【{words[i]}】" if words and i in words else ""),
            "language": "zh",
        }
        for i, item in enumerate(itertools.islice(sample.generate(400, seed=5), 0, 2 * count, 2))  # odd ones may repeat
    ]
    return pa.Table.from_pylist(rows)


def settings(server: OpenAiServer, **api: object) -> QueriesConfig:
    values = {"base_url": server.url, "key": SecretStr(KEY), "model": "m", "max_wait_s": 2} | api
    return QueriesConfig(backend="api", api=ApiConfig(**values))
