"""What a sweep keeps of its trials: read back whole, cut where a kill tore it, refused where it is not ours."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from patent_embed.errors import UserError
from patent_embed.sweep.journal import Journal
from patent_embed.sweep.space import Range

SPACE = {
    "training.margin": Range("uniform", (0.1, 0.5)),
    "training.matryoshka_dims": Range("choice", ((64, 32), None)),
}
VALUES = {"training.margin": 0.2, "training.matryoshka_dims": (64, 32)}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path, SPACE, epochs=2)


def test_trials_are_read_back(journal: Journal) -> None:
    for number in (1, 2, 3):
        journal.begin(f"trial-{number:04d}", VALUES)
    for epoch, value in enumerate((0.3, 0.5, 0.4)):
        journal.reach("trial-0001", epoch, value, value)
    journal.reach("trial-0002", 0, 0.3, 0.3)
    journal.end("trial-0001", "done", best=0.5, seconds=7.0)
    journal.begin("trial-0004", VALUES)
    first, second, third, _ = journal.trials()
    assert (first.state, first.best, first.best_epoch, first.seconds) == ("done", 0.5, 1, 7.0)
    assert (second.state, third.state) == ("running", "waiting")
    assert first.values == VALUES  # a tuple stays one, as the range has it
    assert [line.after for line in journal.begun()] == [0, 0, 0, 1]
    assert journal.next_name == "trial-0005"


def test_what_a_kill_tore_is_cut_off(journal: Journal) -> None:
    journal.begin("trial-0001", VALUES)
    with (journal.folder / "begun.jsonl").open("a") as file:
        file.write('{"trial": "trial-0002", "va')
    assert len(journal.begun()) == 1
    journal.mend()
    journal.begin(journal.next_name, VALUES)
    assert [line.trial for line in journal.begun()] == ["trial-0001", "trial-0002"]


@pytest.mark.parametrize(
    "change",
    [
        {"trial": "../../etc"},
        {"trial": "trial-0002"},
        {"values": {}},
        {"values": VALUES | {"model.trust_remote_code": True}},
        {"values": VALUES | {"training.margin": 0.7}},
        {"values": VALUES | {"training.margin": "0.2"}},
        {"values": VALUES | {"training.matryoshka_dims": [7]}},
        {"after": -1},
        {"time": None},
    ],
)
def test_what_is_not_of_the_sweep_is_refused(journal: Journal, change: dict[str, object]) -> None:
    line = {"trial": "trial-0001", "values": VALUES, "after": 0, "time": 1.0}
    (journal.folder / "begun.jsonl").write_text(json.dumps(line) + "\n")
    assert len(journal.begun()) == 1
    (journal.folder / "begun.jsonl").write_text(json.dumps(line | change) + "\n")
    with pytest.raises(UserError, match=r"line 1 of .*begun.jsonl"):
        journal.begun()


@pytest.mark.parametrize("content", [b"[]\n", b"\n", b"\xff\n", b"null\n", b"[" * 100_000 + b"\n"])
def test_lines_of_another_kind_are_refused(journal: Journal, content: bytes) -> None:
    (journal.folder / "ended.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=r"line 1 of .*ended.jsonl"):
        journal.trials()


@pytest.mark.parametrize(
    ("reasons", "repeated"),
    [
        (["a", "a"], ""),
        (["", "a", "a", "a"], "a"),
        (["a", "a", "", "a"], ""),
        (["a", "b", "a"], ""),
        (["", "", ""], ""),
    ],
)
def test_three_failures_in_a_row_for_one_reason(journal: Journal, reasons: list[str], repeated: str) -> None:
    for number, reason in enumerate(reasons, start=1):
        journal.end(f"trial-{number:04d}", "failed" if reason else "done", reason)
    assert journal.repeated_failure(3) == repeated
