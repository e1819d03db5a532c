"""A user's own queries, as examples of style and length: a model imitates them, and must not copy them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from patent_embed.data.cleaning import clean_text, detect_language
from patent_embed.errors import UserError
from patent_embed.hashing import hash64

SHOWN = 8  # in a prompt: the same for every patent of a language, so that an engine reads them once
_MOST = 10_000_000  # bytes of a file
_NAMES = ("query", "text", "question", "q")


def read_examples(path: Path) -> list[str]:
    """Queries in a file, each once, in its order: a text a line, or JSON lines of texts or of objects with ``query``.

    Raises UserError where the file cannot be read or holds no query.
    """
    setting = f"queries.examples {str(path)!r}"
    try:
        if path.stat().st_size > _MOST:
            raise UserError(f"{setting} has more than {_MOST:,} bytes: a few hundred queries do; set a shorter file")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{setting} cannot be read: {error.strerror}; set it to a file with a query a line") from None
    except UnicodeDecodeError:
        raise UserError(f"{setting} is no UTF-8 text; write it with a query a line") from None
    found = dict.fromkeys(query for line in lines if (query := clean_text(_query(line))))
    if not found:
        raise UserError(f"{setting} holds no query; write one a line, or leave the setting out")
    return list(found)


def shown_examples(queries: Sequence[str], language: str, seed: int) -> list[str]:
    """At most ``SHOWN`` of ``queries`` in the language of a prompt, drawn by ``seed``."""
    wanted = [query for query in queries if (detect_language(query) == "en") == (language == "en")]
    return sorted(wanted, key=lambda query: hash64(query, seed, "example"))[:SHOWN]


def _query(line: str) -> str:
    line = line.strip()
    if not line.startswith(("{", '"')):
        return line
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line
    if isinstance(value, dict):
        value = next((value[name] for name in _NAMES if isinstance(value.get(name), str)), "")
    return value if isinstance(value, str) else ""
