"""`patent-embed encode --quantize`: measured on a run, then written beside the float32 vectors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import open_artifact
from patent_embed.evaluation.quantized import Quantizer
from tests.e2e.commands import patent_embed_here

pytest.importorskip("usearch", reason="needs the extra [usearch]")
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_here")]


def test_vectors_in_few_bits(finished, sample_folder: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished[1], tmp_path / "run"))
    arguments = ("--data_dir", sample_folder, "--output_dir", tmp_path / "vectors", "--rows_per_file", 50)
    done = patent_embed_here("encode", *arguments, "--model_name", out / "model", "--quantize", "int8")
    assert "int8     nDCG@10" in done.stdout
    assert "index and serve read the float32 vectors, not these" in " ".join(done.stdout.split())
    (few,), (whole,) = ((tmp_path / "vectors/steps").glob(f"{name}-*") for name in ("quantized-int8", "embeddings"))
    tables = [pq.read_table(folder / "vectors") for folder in (few, whole)]
    assert tables[0]["id"].to_pylist() == tables[1]["id"].to_pylist()
    assert tables[0].schema.field("embedding").type == pa.list_(pa.int8(), 32)
    about = json.loads((few / "quantizer.json").read_text())
    quantizer = Quantizer("int8", about["largest"], np.array(about["mean"], np.float32))
    int8, vectors = (t["embedding"].combine_chunks().flatten().to_numpy().reshape(-1, 32) for t in tables)
    assert np.abs(quantizer.restored(int8) - vectors).max() <= about["largest"] / 255 + 1e-6
    report = open_artifact(few).manifest.report
    assert report["relative_loss"] <= 0.01
    assert report["int8"]["bytes"] * 4 == report["float32"]["bytes"]
    assert (
        "reused" in patent_embed_here("encode", *arguments, "--model_name", out / "model", "--quantize", "int8").stdout
    )

    done = patent_embed_here("encode", *arguments, "--model_name", tiny_model, "--quantize", "int8", check=2)
    assert "set --measured_on to the output folder of one" in done.stderr


def test_queries_are_not_quantized(tmp_path: Path) -> None:
    done = patent_embed_here("encode", "--kind", "query", "--quantize", "int8", check=2)
    assert "queries stay float32" in done.stderr
