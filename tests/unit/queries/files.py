"""Files that queries are read from."""

from __future__ import annotations

import json
from pathlib import Path


def write_cache(path: Path, queries: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"patent_ids": list(queries), "queries_by_id": queries}), encoding="utf-8")
    return path
