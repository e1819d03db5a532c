"""Events as JSON lines and back: every class, and the lines of earlier runs."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.progress.events import (
    Amount,
    EpochEnded,
    Event,
    PairsGraded,
    PiecesRead,
    QueriesWritten,
    Rate,
    ShardsSearched,
    StepFinished,
    TextsEmbedded,
    TrainingStarted,
    TrainingStep,
    read_events,
    to_json,
)
from patent_embed.progress.listeners import JsonLines

# Lines as version 0.1.0 wrote them, and what they say.
LINES: list[tuple[str, Event]] = [
    (
        '{"time": 1795946174.087, "event": "read", "done": 1, "total": 1, "records": 120, "seconds": 3.415}',
        PiecesRead(done=1, total=1, records=120, seconds=3.415),
    ),
    (
        '{"time": 1795946174.131, "event": "stage", "step": "negatives-scored-46f74a25", "reused": false, '
        '"rows": {"records": 120, "patents": 120, "not_sampled": 0}, "seconds": 3.501}',
        StepFinished(
            step="negatives-scored-46f74a25",
            reused=False,
            rows={"records": 120, "patents": 120, "not_sampled": 0},
            seconds=3.501,
        ),
    ),
    (
        '{"time": 1795946178.131, "event": "embedded", "done": 540, "total": 541, "seconds": 0.094}',
        TextsEmbedded(done=540, total=541, seconds=0.094),
    ),
    (
        '{"time": 1795946178.2, "event": "searched", "done": 3, "total": 16, "seconds": 6.0}',
        ShardsSearched(done=3, total=16, seconds=6.0),
    ),
    (
        '{"time": 1795946178.3, "event": "generated", "done": 96, "total": 240, "seconds": 20.25}',
        QueriesWritten(done=96, total=240, seconds=20.25),
    ),
    (
        '{"time": 1795946178.4, "event": "judged", "done": 96, "total": 340, "seconds": 10.5}',
        PairsGraded(done=96, total=340, seconds=10.5),
    ),
    (
        '{"time": 1795946190.127, "event": "start", "triplets": 258, "texts": 172, "tokens": 13141, "val_queries": 23, '
        '"trained_parameters": 14336, "device": "cpu", "pid": 4221, "node": "192.0.2.2", "from_epoch": 0}',
        TrainingStarted(
            triplets=258,
            texts=172,
            tokens=13141,
            val_queries=23,
            trained_parameters=14336,
            device="cpu",
            pid=4221,
            node="192.0.2.2",
            from_epoch=0,
        ),
    ),
    (
        '{"time": 1795946190.629, "event": "epoch", "epoch": 0, "val_ndcg@10": 0.43841496914121275, '
        '"best_val": 0.43841496914121275}',
        EpochEnded(epoch=0, val_ndcg=0.43841496914121275, best_val=0.43841496914121275),
    ),
    (
        '{"time": 1795946199.663, "event": "step", "epoch": 1, "epochs": 2, "step": 2, "steps": 10, "lr": 0.001, '
        '"loss": 0.3039266765117645, "triplets_per_s": 14.408552585237713, "eta_s": 26.92845084228138}',
        TrainingStep(
            epoch=1,
            epochs=2,
            step=2,
            steps=10,
            lr=0.001,
            loss=0.3039266765117645,
            triplets_per_s=14.408552585237713,
            eta_s=26.92845084228138,
        ),
    ),
    (
        '{"time": 1795946210.215, "event": "epoch", "epoch": 1, "loss": 0.29699127295220545, "train_seconds": '
        '18.44451173699997, "val_ndcg@10": 0.43904257266824526, "kept_epoch": 1, "best_val": 0.43904257266824526, '
        '"stopped": false}',
        EpochEnded(
            epoch=1,
            loss=0.29699127295220545,
            train_seconds=18.44451173699997,
            val_ndcg=0.43904257266824526,
            kept_epoch=1,
            best_val=0.43904257266824526,
            stopped=False,
        ),
    ),
    (  # without validation patents
        '{"time": 1795946210.3, "event": "epoch", "epoch": 2, "loss": 0.25, "train_seconds": 1.5, "kept_epoch": 2, '
        '"best_val": null, "stopped": false}',
        EpochEnded(epoch=2, loss=0.25, train_seconds=1.5, kept_epoch=2, stopped=False),
    ),
]


def leaves(cls: type[Event]) -> list[type[Event]]:
    """All classes below ``cls`` that have a kind of their own."""
    below = [leaf for each in cls.__subclasses__() for leaf in leaves(each)]
    return below or [cls]


def arbitrary(cls: type[Event]) -> st.SearchStrategy[Event]:
    """Events of ``cls`` with any values that JSON has; whole milliseconds, as they are written."""
    finite = st.floats(allow_nan=False, allow_infinity=False)
    by_type: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(),
        str: st.text(),
        float: finite,
        float | None: st.none() | finite,
        int | None: st.none() | st.integers(),
        bool | None: st.none() | st.booleans(),
        Mapping[str, int]: st.dictionaries(st.text(), st.integers()),
    }
    hints = get_type_hints(cls)
    values = {field.name: by_type[hints[field.name]] for field in dataclasses.fields(cls)}
    if "seconds" in values:
        values["seconds"] = st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000)
    return st.builds(cls, **values)


@given(st.data())
@pytest.mark.parametrize("cls", leaves(Event), ids=lambda cls: cls.kind)
def test_what_is_written_is_read_again(cls: type[Event], data: st.DataObject) -> None:
    events = data.draw(st.lists(arbitrary(cls), min_size=1, max_size=3))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "progress.jsonl"
        lines = JsonLines(path)
        for event in events:
            lines.on_event(event)
        lines.close()
        assert list(read_events(path)) == events


def test_every_kind_has_one_class() -> None:
    kinds = [cls.kind for cls in leaves(Event)]
    assert sorted(kinds) == sorted(set(kinds))
    assert set(kinds) == {to_json(event)["event"] for _, event in LINES}


@pytest.mark.parametrize(("line", "event"), LINES)
def test_lines_are_those_of_version_0_1(tmp_path: Path, line: str, event: Event) -> None:
    path = tmp_path / "progress.jsonl"
    path.write_text(line + "\n")
    assert list(read_events(path)) == [event]
    time = json.loads(line)["time"]
    assert json.dumps({"time": time, **to_json(event)}, ensure_ascii=False) == line


def test_seconds_are_written_to_the_millisecond() -> None:
    assert to_json(TextsEmbedded(1, 2, 0.123456))["seconds"] == 0.123
    assert to_json(EpochEnded(1, train_seconds=0.123456))["train_seconds"] == 0.123456


def test_what_is_no_whole_known_event_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    assert list(read_events(path)) == []
    known, event = LINES[0]
    others = [
        '{"time": 1.0, "event": "embed',  # torn by a kill
        "",
        "[1, 2]",
        '{"time": 1.0}',
        '{"time": 1.0, "event": ["read"]}',
        '{"time": 1.0, "event": "of another version", "done": 1}',
        '{"time": 1.0, "event": "read", "done": 1}',  # not all that a reader of it needs
        known.replace('"done"', '"of another version": 3, "done"'),
    ]
    path.write_bytes("\n".join([known, *others]).encode() + b'\n{"event": "\xe4\xb8\n' + known.encode())
    assert list(read_events(path)) == [event] * 3


@pytest.mark.parametrize(
    ("event", "rate"),
    [
        (PiecesRead(3, 9, 600, 2.0), Rate("ingest", 300.0)),
        (QueriesWritten(3, 9, 2.0), Rate("queries", 1.5)),
        (TextsEmbedded(3, 9, 2.0), Rate("embed", 1.5)),
        (TextsEmbedded(3, 9, 0.0), None),
        (ShardsSearched(3, 9, 2.0), None),  # a shard is no row
        (TrainingStep(1, 2, 3, 4, 1e-3, 0.5, 120.5, 9.0), Rate("train", 120.5)),
        (StepFinished("embed-base-0123abcd", False, {"passages": 8, "queries": 6}, 4.0), Rate("embed-base", 2.0)),
        (StepFinished("embed-base-0123abcd", True, {"passages": 8, "queries": 6}, 4.0), None),
        (StepFinished("splits-0123abcd", False, {}, 4.0), Rate("splits", 0.0)),
        (StepFinished("splits-0123abcd", False, {"train": 8}, 0.0), None),
        (EpochEnded(1, loss=0.5), None),
    ],
)
def test_an_event_says_whose_rate_it_tells(event: Event, rate: Rate | None) -> None:
    assert event.rate() == rate


def test_amounts_name_what_they_count() -> None:
    assert {cls.kind: cls.things for cls in Amount.__subclasses__()} == {
        "generated": "queries",
        "judged": "pairs",
        "embedded": "texts",
        "searched": "shards",
    }
