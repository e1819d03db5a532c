"""From search to training and back: a run is served, its results are judged, and the next run learns from that."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from patent_embed.serving.judgements import LOG_NAME, Judgement, JudgementLog, export_judgements
from tests.e2e.commands import patent_embed_here, run_here
from tests.e2e.searching import server

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_here")]
LEARNT, ASKED = "夜里也能晾干衣服的架子", "不漏水的水泵"


def test_what_is_judged_is_learnt_and_measured(
    finished: tuple[tuple[str, ...], Path, object], tiny_model: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished[1], tmp_path / "out"))
    numbers = {split: _numbers(out, split) for split in ("train", "test")}
    said = [(LEARNT, numbers["train"][0], True), (LEARNT, numbers["train"][1], True)]
    said += [(LEARNT, numbers["train"][2], False)]
    said += [(ASKED, number, True) for number in (*numbers["test"][:2], numbers["train"][3])]
    with server(out) as running:
        for query, number, relevant in said:
            body = {"query": query, "publication_number": number, "relevant": relevant, "system": "tuned", "rank": 1}
            assert running.client.post("/judgements", json=body).status_code == 200
        qrels = running.client.get("/judgements/qrels").text
    log = out / LOG_NAME
    assert export_judgements(log, tmp_path / "exported") == len(said)
    assert (tmp_path / "exported" / "qrels.txt").read_text() == qrels

    arguments = [str(out) if each == finished[0][3] else each for each in finished[0]]
    done = run_here(*arguments, "--set", f"queries.judgements={log}")
    assert "judged queries: test 1, train 1" in done.stdout
    assert "reused" in done.stdout  # what was said changes neither corpus nor splits
    rows = _table(out, "queries-judged-*/queries.parquet")
    judged = sorted((row["query"], row["publication_number"]) for row in rows if row["source"] == "judged")
    assert judged == sorted([(LEARNT, number) for number in numbers["train"][:2]] + [(ASKED, numbers["test"][0])])
    before, after = _triplets(out)
    assert after >= before + 2  # the refused patent is a negative of both pairs
    measured = json.loads((out / "metrics.json").read_text())["systems"]["tuned"]["test"]["by_source"]["judged"]
    assert measured["queries"] == 1
    (row,) = _of_query(out, "evaluate-tuned-*", numbers["test"][0])
    assert row["relevant"] >= 3  # two test patents and one of training, with their families
    assert "train: relevant" in (out / "report.md").read_text()

    # More is judged. What the run was trained on cannot be measured on, though a test patent answers it, too.
    more = JudgementLog(log)
    for query, number in ((LEARNT, numbers["test"][2]), ("另一个问题", numbers["test"][3])):
        more.append(Judgement(query, number, relevant=True))
    more.close()
    models = (tiny_model, out / "model")
    asked = ("--output_dir", out, "--set", f"queries.judgements={log}")
    compared = patent_embed_here("compare", *models, *asked, "--set", "evaluation.query_sources=[judged]")
    assert "of queries that were trained on before 4" in compared.stdout
    (folder,) = (out / "compare").iterdir()
    found = json.loads((folder / "metrics.json").read_text())["systems"]
    assert [system["test"]["queries"] for name, system in found.items() if name != "bm25"] == [2, 2]


def test_a_log_without_judgements_is_said(finished: tuple[tuple[str, ...], Path, object], tmp_path: Path) -> None:
    (tmp_path / LOG_NAME).touch()
    for path, words in ((tmp_path / LOG_NAME, "holds no judgement"), (tmp_path / "absent", "cannot be read")):
        done = run_here(*finished[0], "--plan", "--set", f"queries.judgements={path}", check=2)
        assert words in done.stderr


def _table(out: Path, pattern: str) -> list[dict[str, Any]]:
    (path,) = (out / "steps").glob(pattern)
    found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return found


def _numbers(out: Path, split: str) -> list[str]:
    """Publication numbers of a split, each of a family of its own."""
    first = {row["family"]: row["publication_number"] for row in _table(out, "splits-*/splits.parquet")[::-1]}
    rows = _table(out, "splits-*/splits.parquet")
    return [
        row["publication_number"]
        for row in rows
        if row["split"] == split and first[row["family"]] == row["publication_number"]
    ]


def _of_query(out: Path, step: str, number: str) -> list[dict[str, Any]]:
    """Rows of the judged query of a patent, of the evaluation that has one."""
    paths = (out / "steps").glob(f"{step}/per_query.parquet")
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    return [row for row in rows if row["source"] == "judged" and row["publication_number"] == number]


def _triplets(out: Path) -> list[int]:
    """Triplets of each training that was prepared, in the order in which they were."""
    folders = sorted((out / "steps").glob("tokens-*"), key=lambda path: path.stat().st_mtime)
    return [len(np.load(folder / "data" / "train-triplets.npy")) for folder in folders]
