"""Lines of 80 columns: finished steps, remarks, plans."""

from __future__ import annotations

import pytest

from patent_embed.progress.terminal import finished, note, planned


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("ingest", "5,753 patents"),
        ("ingest", "12,345,678 records, 10,000,000 patents, 2,345,678 not_sampled"),
        ("ingest", "5,753 records, 2,500 patents, 3,253 not_sampled"),
        ("splits", ""),
        ("evaluate-sentence-transformers-paraphrase-multilingual-MiniLM-L12-v2", "1,258 queries"),
    ],
)
def test_a_finished_step_fits_80_columns(capsys: pytest.CaptureFixture[str], name: str, counts: str) -> None:
    finished(f"[11/12] {name:16}", counts, "2 h 03 min")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 or line == f"[11/12] {name}" for line in lines)
    assert not any(line.endswith(" 3,253") for line in lines)
    assert sum(line.endswith(" 2 h 03 min") for line in lines) == 1
    words = " ".join(lines).replace("2 h 03 min", "").split()
    assert words == ["[11/12]", name, *counts.split()]


def test_a_note_is_wrapped_and_a_path_in_it_stays_whole(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/shared/experiments-of-the-team/" + "x" * 60 + "/rejects.parquet"
    note(f"by rung: same_main_group 5,890,123, same_subclass 8,746,123, random 2,623,123; see {path}")
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 or path in line for line in lines)
    assert path in " ".join(lines)


def test_a_plan_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    planned(4, "negatives-0123456789abcdef", "reuse", "17,259 negatives, 5,753 anchors, 1,234,567 not_sampled")
    planned(5, "train-0123456789abcdef", "run", "")
    *first, last = capsys.readouterr().out.splitlines()
    assert len(first) == 2
    assert max(map(len, first)) <= 80
    assert first[1].strip() == "1,234,567 not_sampled"
    assert last == "   5  train-0123456789abcdef    run"
