"""`patent-embed encode`, killed and started again: nothing is lost, and nothing that was finished is done twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import open_artifact
from patent_embed.encoder.encoder import Encoder
from tests.conftest import ROOT
from tests.e2e.commands import patent_embed_here

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_here")]
PROGRAM = [sys.executable, "-c", "import sys; from pipelines.cli import program; sys.exit(program())"]
TEXTS, ROWS_PER_FILE = 3200, 50


def encode(*arguments: object, check: int = 0) -> subprocess.CompletedProcess[str]:
    return patent_embed_here("encode", *arguments, check=check)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts in a column of Parquet files and a field of JSON lines, with four that cannot be used."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [
        {"key": f"t{n:05d}", "body": f"第{n}种装置，包括壳体、支架和转轴，" * (1 + n % 7), "x": n} for n in range(TEXTS)
    ]
    pq.write_table(pa.Table.from_pylist(rows[:2000]), folder / "a.parquet")
    bad = [
        {"key": "t00001", "body": "重复的编号"},
        {"key": "empty", "body": " "},
        {"key": "none"},
        {"body": "没有编号"},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows[2000:] + bad]
    (folder / "b.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def pieces(out: Path) -> dict[str, int]:
    """Finished files of embeddings and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in out.glob("steps/embeddings-*/vectors/part-*.parquet")}


def test_a_killed_encoding_goes_on_where_it_was(tmp_path: Path, corpus: Path, tiny_model: Path) -> None:
    arguments = (
        *("--data_dir", corpus, "--output_dir", tmp_path, "--model_name", tiny_model),
        *("--text_column", "body", "--id_column", "key", "--rows_per_file", ROWS_PER_FILE),
    )
    process = subprocess.Popen(
        [*PROGRAM, "encode", *map(str, arguments)], stdout=subprocess.DEVNULL, start_new_session=True, cwd=ROOT
    )
    while len(pieces(tmp_path)) < 3 and process.poll() is None:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before: dict[str, int] = {}
    while before != (before := pieces(tmp_path)):  # the workers die a little after their driver
        time.sleep(3)
    assert 3 <= len(before) < TEXTS // ROWS_PER_FILE

    done = encode(*arguments)
    after = pieces(tmp_path)
    assert len(after) == TEXTS // ROWS_PER_FILE
    assert {name: after[name] for name in before} == before
    assert f"going on: {len(before) * ROWS_PER_FILE:,} of {TEXTS:,} texts are embedded already" in done.stdout
    assert f"{TEXTS + 4:,} records: {TEXTS:,} embedded, 4 rejected" in done.stdout

    (folder,) = tmp_path.glob("steps/embeddings-*")
    manifest = open_artifact(folder).manifest
    assert manifest.rows["embeddings"] == TEXTS
    assert manifest.rejects == {"duplicate_id": 1, "missing_id": 1, "missing_text": 2}
    assert manifest.report["encoded_by_this_run"] == TEXTS - len(before) * ROWS_PER_FILE
    table = pq.read_table(folder / "vectors")
    assert table["id"].to_pylist() == [f"t{n:05d}" for n in range(TEXTS)]
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 32)
    vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(TEXTS, 32)
    assert not list(folder.glob("vectors/.*"))
    texts = pq.read_table(corpus / "a.parquet")["body"].to_pylist()
    expected = Encoder.load(tiny_model).encode(texts, "passage")
    assert (vectors[:2000] * expected).sum(axis=1).min() > 0.999

    assert "reused" in encode(*arguments).stdout
    assert pieces(tmp_path) == after


def test_a_corpus_that_changed_is_embedded_where_it_changed(tmp_path: Path, tiny_model: Path) -> None:
    texts = {f"t{n:03d}": f"第{n}种装置，包括壳体和转轴。" for n in range(200)}
    arguments = (
        *("--data_dir", tmp_path / "texts.jsonl", "--output_dir", tmp_path / "out", "--model_name", tiny_model),
        *("--text_column", "body", "--id_column", "key", "--rows_per_file", ROWS_PER_FILE),
    )

    def encoded() -> tuple[dict[str, np.ndarray], dict[str, Any], Path]:
        rows = [json.dumps({"key": key, "body": body}, ensure_ascii=False) for key, body in texts.items()]
        (tmp_path / "texts.jsonl").write_text("\n".join(rows), encoding="utf-8")
        folder = Path(encode(*arguments).stdout.split("vectors ")[-1].strip())
        table = pq.read_table(folder)
        vectors = table["embedding"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        manifest = open_artifact(folder.parent).manifest
        return dict(zip(table["id"].to_pylist(), vectors, strict=True)), manifest.report, folder

    before, _, old = encoded()
    texts |= {"t199a": "一种新的水泵。", "t120": "一种改动的灯具。"}
    del texts["t130"]
    after, report, new = encoded()
    assert after.keys() == texts.keys()
    assert report["encoded_by_this_run"] == 2
    assert report["taken"] == {"vectors": 198, "of": old.parent.name}
    for key in texts.keys() - {"t199a", "t120"}:
        np.testing.assert_array_equal(after[key], before[key])
    expected = Encoder.load(tiny_model).encode([texts["t120"], texts["t199a"]], "passage")
    np.testing.assert_allclose([after["t120"], after["t199a"]], expected, atol=1e-5)
    same = [(new / path.name).samefile(path) for path in sorted(old.iterdir())]
    assert same == [True, True, False, False]  # nothing changed in the first two files


def test_what_cannot_be_encoded_is_said(tmp_path: Path, corpus: Path, tiny_model: Path) -> None:
    arguments = ("--data_dir", corpus, "--output_dir", tmp_path, "--model_name", tiny_model)
    done = encode(*arguments, "--text_column", "title", check=2)
    assert "no text in" in done.stderr
    assert f"'missing_text': {TEXTS + 4}" in done.stderr
