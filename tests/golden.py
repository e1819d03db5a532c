"""What the steps made of the generated sample when their versions were set: digests of content, whatever wrote it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

GOLDEN = Path(__file__).parent / "data" / "golden.json"
# The output of each step that no floating-point arithmetic of a model touches, so that every machine makes the same.
STEPS = ("ingest", "splits", "queries", "negatives", "tokens")


def content_digest(folder: Path) -> str:
    """SHA-256 over the tables and arrays below a step's folder: names, types and values, not how they are packed."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            content = json.dumps([str(table.schema.remove_metadata()), table.to_pylist()], ensure_ascii=False)
            digest.update(f"{name}\0{content}\n".encode())
        elif path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            digest.update(f"{name}\0{array.dtype}{array.shape}\n".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def made_by(output: Path) -> dict[str, dict[str, Any]]:
    """Step → its version and the digest of its content, of the steps below an output folder."""
    found = {}
    for manifest in sorted((output / "steps").glob("*/manifest.json")):
        about = json.loads(manifest.read_text(encoding="utf-8"))
        if about["step"] in STEPS:
            found[about["step"]] = {"version": about["code_version"], "digest": content_digest(manifest.parent)}
    return found
