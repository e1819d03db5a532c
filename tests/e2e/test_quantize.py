"""`patent-embed encode --quantize`, from the command to the files. What they hold, and when they are refused:
`tests/unit/pipelines/test_quantized.py`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import open_artifact
from pipelines.cli import main
from tests.e2e.commands import patent_embed_here

pytest.importorskip("usearch", reason="needs the extra [usearch]")
pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.usefixtures("ray_here")
def test_vectors_in_few_bits(
    finished, sample_folder: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(finished[1], tmp_path / "run"))
    arguments = ["encode", "--data_dir", sample_folder, "--output_dir", tmp_path / "vectors", "--quantize", "int8"]
    code = main([*map(str, arguments), "--model_name", str(out / "model")])
    said, steps = capsys.readouterr(), tmp_path / "vectors/steps"
    (whole,) = steps.glob("embeddings-*")
    if code:  # two layers of random weights: with 16 queries one that changes places is more than a per cent
        assert code == 2
        assert "--quantize int8 loses" in said.err
        assert not [path for path in steps.glob("quantized-*") if (path / "manifest.json").exists()]
    else:
        (few,) = steps.glob("quantized-int8-*")
        assert open_artifact(few).manifest.report["relative_loss"] <= 0.01
        tables = [pq.read_table(folder / "vectors") for folder in (few, whole)]
        assert tables[0]["id"].equals(tables[1]["id"])
        assert tables[0].schema.field("embedding").type == pa.list_(pa.int8(), 32)
        assert "index and serve read the float32 vectors, not these" in " ".join(said.out.split())
    done = patent_embed_here(*arguments, "--model_name", tiny_model, check=2)
    assert "set --measured_on to the output folder of one" in done.stderr


def test_queries_are_not_quantized() -> None:
    done = patent_embed_here("encode", "--kind", "query", "--quantize", "int8", check=2)
    assert "queries stay float32" in done.stderr
