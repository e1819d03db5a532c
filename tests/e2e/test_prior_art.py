"""Trainings on citations, claims and halves, from patents to the published model."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from patent_embed.data.sample import generate
from tests.e2e.commands import patent_embed_here, run_here

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_here")]
_PATENTS = 240


@pytest.fixture(scope="module")
def patents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated patents, a day apart, each citing two before it, one as X, and one that is not there, with a claim."""
    file = tmp_path_factory.mktemp("dated") / "patents.jsonl"
    records = list(generate(_PATENTS))
    numbers = [record["publication_number"] for record in records]
    with file.open("w", encoding="utf-8") as lines:
        for i, record in enumerate(records):
            prejudicial = [{"publication_number": numbers[i - 1], "category": "X"}] if i else []
            record["citations"] = [*prejudicial, *numbers[max(i - 7, 0) : max(i - 6, 0)], "US1234567B2"]
            record["publication_date"] = f"20{i // 300:02}{i % 300 // 25 + 1:02}{i % 25 + 1:02}"
            record["claims"] = [f"1. {record['abstract'][:60]}"]
            lines.write(json.dumps(record, ensure_ascii=False) + "\n")
    return file


def options(patents: Path, tiny_model: Path, out: Path) -> list[str | Path]:
    return [
        *("--data_dir", patents, "--output_dir", out, "--model_name", tiny_model, "--query_backend", "rules"),
        *("--preset", "prior-art", "--num_epochs", "1", "--set", "run.publish=always", "--set", "splits.by=date"),
    ]


def encoded(patents: Path, run: Path, *view: str) -> np.ndarray:
    """The vectors that ``encode`` makes of the same patents by the model of ``run``, in the order of their numbers."""
    out = run.with_name(f"{run.name}-vectors")
    patent_embed_here("encode", "--data_dir", patents, "--output_dir", out, "--model_name", run / "model", *view)
    [folder] = out.glob("steps/embeddings-*/vectors")
    table = pq.read_table(folder).sort_by("id")
    return np.array(table["embedding"].to_pylist(), np.float32)


def test_the_preset_trains_on_links_of_the_past_and_says_what_it_left_out(
    patents: Path, tiny_model: Path, tmp_path: Path
) -> None:
    view = ("--set", "model.passage_view=title+abstract+claim", "--set", "model.max_seq_length=96")
    said = run_here(*options(patents, tiny_model, tmp_path), *view).stdout
    assert re.search(r"citations: \d+ pairs, of which \d+ are trained on", said), said
    assert re.search(r"claims: \d+ pairs", said), said
    assert re.search(r"of [\d,]+ training texts 0 are of families of val or test", said), said
    assert re.search(r"of 240 passages [\d,]+ are longer than the 96 tokens that are read", said), said
    assert (tmp_path / "model" / "model.safetensors").exists()
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "title+abstract+claim" in card
    assert "own 0.5, halves 0.5, claims 0.5, citations 4" in card
    assert "not on claims" not in card
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert re.search(r"of families in val or test *\| *0 *\|", report)
    [vectors] = tmp_path.glob("steps/embed-tuned-*/passages.npy")
    assert np.allclose(encoded(patents, tmp_path, *view), np.load(vectors), atol=1e-5)
    [table] = tmp_path.glob("steps/relevance-*/relevance.parquet")
    [splits] = tmp_path.glob("steps/splits-*/splits.parquet")
    split = dict(zip(*pq.read_table(splits).select(["publication_number", "split"]).to_pydict().values(), strict=True))
    order = {record["publication_number"]: i for i, record in enumerate(generate(_PATENTS))}
    last = max(order[number] for number, part in split.items() if part == "train" if number in order)
    pairs = pq.read_table(table).to_pylist()
    trained = [pair for pair in pairs if pair["trains"] and pair["source"] == "citations"]
    assert {pair["grade"] for pair in trained} == {1.0, 2.0}
    assert re.search(r"same family \d+, prejudicial \d+, without category \d+", " ".join(said.split())), said
    assert all(order[pair["publication_number"]] <= last for pair in trained)
    assert {pair["split"] for pair in pairs} == {"train", "val", "test"}


def test_without_a_weight_there_is_no_such_step_and_a_weight_names_other_tokens(
    patents: Path, tiny_model: Path, tmp_path: Path
) -> None:
    def plan(*more: str) -> dict[str, str]:
        common = ["--data_dir", patents, "--output_dir", tmp_path, "--model_name", tiny_model, "--plan"]
        said = run_here(*common, "--query_backend", "rules", "--loss", "infonce", *more).stdout
        return dict(re.findall(r"\b([a-z0-9-]+)-([0-9a-f]{8})\b", said))

    plain = plan()
    assert "relevance" not in plain
    assert plan("--set", "relevance.own=1") == plain
    halves, more = (plan("--set", f"relevance.halves={weight}") for weight in ("1", "2"))
    assert halves["relevance"] == more["relevance"]  # weights are the training's
    assert len({plain["tokens"], halves["tokens"], more["tokens"]}) == 3
    assert {name: plain[name] for name in ("ingest", "splits", "queries")} == {
        name: halves[name] for name in ("ingest", "splits", "queries")
    }


def test_epochs_cannot_be_judged_by_links_that_are_not_there(
    sample_folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    arguments = options(sample_folder, tiny_model, tmp_path)[:-2]
    said = run_here(*arguments, check=2)
    assert "no val patent is linked to another one" in said.stdout + said.stderr
    assert "set training.validate_on=queries" in said.stdout + said.stderr
