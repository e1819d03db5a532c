"""Several passages a patent: from texts longer than the model reads to searches; and where they are refused."""

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
VIEW = ("--set", "model.passages_per_patent=3", "--set", "model.max_seq_length=48")


@pytest.fixture(scope="module")
def patents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("long") / "patents.jsonl"
    lines = [json.dumps(record, ensure_ascii=False) for record in generate(120)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


def test_a_run_with_several_passages_a_patent(patents: Path, tiny_model: Path, tmp_path: Path) -> None:
    out, vectors = tmp_path / "run", tmp_path / "vectors"
    done = run_here(
        *("--data_dir", patents, "--output_dir", out, "--model_name", tiny_model, "--query_backend", "rules"),
        *("--num_epochs", "1", "--set", "run.publish=always", "--loss", "infonce", *VIEW),
    )
    said = " ".join(done.stdout.split())
    assert re.search(r"120 texts are \d+ passages of 48 tokens at most; \d+ are longer than 3 of them", said), said
    assert "longer than 3 passages of 48 tokens, of 120 passages" in (out / "report.md").read_text(encoding="utf-8")
    [folder] = out.glob("steps/embed-tuned-*")
    owner, passages, asked = (np.load(folder / f"{name}.npy") for name in ("owners", "passages", "queries"))
    count = np.bincount(owner)
    assert len(count) == 120
    assert count.max() == 3
    # The rank of each query's own patent, by a plain maximum over its passages.
    scores = np.maximum.reduceat(asked @ passages.T, np.cumsum(count) - count, axis=1)
    [evaluated] = out.glob("steps/evaluate-tuned-*/per_query.parquet")
    per_query = pq.read_table(evaluated, columns=["first", "query_no", "publication_number"])
    [corpus] = out.glob("steps/ingest-*/corpus")
    numbers = pq.read_table(corpus)["publication_number"].to_pylist()
    queries = pq.read_table(next(out.glob("steps/queries-*/queries.parquet")))
    row = {(each["publication_number"], each["query_no"]): place for place, each in enumerate(queries.to_pylist())}
    for each in per_query.to_pylist():
        mine = scores[row[each["publication_number"], each["query_no"]]]
        assert mine[numbers.index(each["first"])] == pytest.approx(mine.max(), abs=1e-6)
    # The same vectors from encode, with the number of each one's patent.
    encode = ("--data_dir", patents, "--output_dir", vectors, "--model_name", out / "model", *VIEW)
    assert "120 embedded" in patent_embed_here("encode", *encode).stdout
    [encoded] = vectors.glob("steps/embeddings-*/vectors")
    table = pq.read_table(encoded).sort_by([("id", "ascending"), ("passage", "ascending")])
    assert table["id"].to_pylist() == [numbers[each] for each in owner.tolist()]
    assert np.allclose(np.array(table["embedding"].to_pylist()), passages, atol=1e-5)
    for command in (("serve", out), ("index", out, "--to", "lancedb")):
        said = patent_embed_here(*command, check=2).stderr
        assert "up to 3 vectors a patent (model.passages_per_patent)" in said
    benchmark = tmp_path / "own"
    patent_embed_here("benchmark", out, benchmark)
    again = patent_embed_here("compare", out / "model", "--benchmark", benchmark, "--output_dir", vectors, *VIEW)
    [measured] = vectors.glob("steps/benchmark-embed-*")
    assert (measured / "owners.npy").exists()
    assert "test: " in again.stdout
