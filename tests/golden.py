"""What the steps made of the generated sample when their versions were set: digests of content, whatever wrote it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact
from pipelines.engine import StepSpec

FILE = Path(__file__).parent / "data" / "golden.json"
WRITE = "PATENT_EMBED_WRITE_GOLDEN"  # an environment variable: write the file anew instead of comparing with it


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


def pinned(steps: Iterable[StepSpec], made: Mapping[StepSpec, Artifact]) -> dict[str, dict[str, Any]]:
    """Step → its version, the constants in its code, and, of the steps that were ``made``, the digest of the result."""
    found: dict[str, dict[str, Any]] = {}
    for step in steps:
        found[step.name] = {"version": step.version, "constants": dict(step.constants)}
        if step in made:
            found[step.name]["digest"] = content_digest(made[step].path)
    return found


def complaints(golden: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is to be said of steps that are not as they were: nothing where all is well."""
    found = []
    for name in sorted({*golden, *now}):
        before, after = golden.get(name), now.get(name)
        if before == after:
            continue
        if before is None or after is None:
            found.append(f"{name}: there is {'no' if after is None else 'now'} such step")
        elif before["version"] == after["version"]:
            changed = ", ".join(key for key in before if before[key] != after.get(key))
            found.append(f"{name}: {changed} changed, its version did not: artifacts of earlier runs would be reused")
        else:
            found.append(f"{name}: version {after['version']}, the golden file has {before['version']}")
    return found
