"""Files that this program wrote, as somebody else left them: read as far as they are whole, or refused in a line."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patent_embed.artifacts import MANIFEST, open_artifact
from patent_embed.errors import UserError
from patent_embed.folders import json_of
from patent_embed.progress.events import Event, read_events
from patent_embed.progress.loss_curve import loss_curve
from patent_embed.queries.cache import read_query_cache
from patent_embed.sweep.journal import Journal
from patent_embed.sweep.space import Range
from patent_embed.training.checkpoint import STATE_FILE, read_state
from pipelines.run_folder import SUMMARY, open_run

NAMES = st.sampled_from(
    (
        *("event", "step", "epoch", "loss", "from_epoch", "fingerprint", "history", "sha256", "steps", "config"),
        *("folder", "published", "files", "rows", "trial", "values", "after", "state", "reason", "time", "query"),
        *("queries_by_id", "start", "training.margin"),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | NAMES | st.just("trial-0001"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=12,
)
CONTENT = st.binary(max_size=40) | JSON.map(lambda value: json.dumps(value).encode() + b"\n")
JOURNAL_SPACE = {"training.margin": Range("uniform", (0.1, 0.5))}


def _events(folder: Path) -> Any:
    loss_curve(folder / "progress.jsonl", "train-0")
    return all(isinstance(event, Event) for event in read_events(folder / "progress.jsonl"))


READERS: dict[str, Callable[[Path], Any]] = {
    MANIFEST: open_artifact,
    STATE_FILE: lambda folder: read_state(folder, "f"),
    SUMMARY: lambda folder: open_run(str(folder)),
    "llm_queries_cache.json": lambda folder: read_query_cache(folder / "llm_queries_cache.json"),
    "progress.jsonl": _events,
    **dict.fromkeys(
        ("begun.jsonl", "epochs.jsonl", "ended.jsonl"), lambda folder: Journal(folder, JOURNAL_SPACE, 2).trials()
    ),
}


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=60, deadline=None)
@given(content=CONTENT)
@example(content=b"")
@example(content=b"[]\n")
@example(content=b"null\n")
@example(content=b"{}\n")
@example(content=b"\xff\xfe\n")
@example(content=b'{"event": "step", "step": "a", "epoch": [], "loss": null}\n' * 2)
@example(content=b"[" * 100_000 + b"\n")
@example(content=b'{"steps": {"ingest": {"folder": "/etc"}}, "config": {}}\n')
def test_nothing_but_a_users_error_is_raised(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(content)
        with contextlib.suppress(UserError):
            READERS[name](Path(folder))


def test_what_is_nested_too_deeply_is_no_json() -> None:
    assert json_of(b"[[1]]") == [[1]]
    with pytest.raises(ValueError, match="nested too deeply"):
        json_of("[" * 100_000)
