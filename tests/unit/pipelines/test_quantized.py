"""The step that writes vectors in few bits: what it writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import Artifact, Outcome, Step
from patent_embed.errors import UserError
from patent_embed.evaluation.agreement import unit
from patent_embed.evaluation.quantized import PRECISIONS, Quantizer
from patent_embed.evaluation.systems import System
from patent_embed.folders import folder_at
from pipelines.engine import Output, Runner
from pipelines.steps.quantized import NAME, quantized_step

pytest.importorskip("usearch", reason="needs the extra [usearch]")
RNG = np.random.default_rng(5)
DOCUMENTS = unit((RNG.standard_normal((400, 64)) + 2 * RNG.standard_normal(64)).astype(np.float32))
QUERIES = unit(DOCUMENTS[::4] + 0.05 * RNG.standard_normal((100, 64)).astype(np.float32))


def found_first(rows: np.ndarray) -> Callable[[System], float]:
    """The share of queries whose own document, of ``rows``, a system finds first."""
    return lambda system: float(np.mean(system.search(np.arange(len(QUERIES)), 10)[1][:, 0] == rows))


@pytest.fixture
def output(tmp_path: Path) -> Output:
    return Output(folder_at(tmp_path))


def embeddings(output: Output) -> Artifact:
    def work(folder: Path) -> Outcome:
        (folder / "vectors").mkdir()
        for number, part in enumerate(np.split(DOCUMENTS, 4)):
            column = pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1])
            names = [f"d{number}-{row}" for row in range(len(part))]
            pq.write_table(pa.table({"id": names, "embedding": column}), folder / f"vectors/part-{number}.parquet")
        return Outcome(rows={"embeddings": len(DOCUMENTS)})

    return output.store.run(Step("embeddings", 1, {}, {}), work)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_files_hold_what_a_search_reads(output: Output, precision: str) -> None:
    made = embeddings(output)
    own = np.arange(0, 400, 4)
    step = quantized_step(precision, made, made, lambda: (QUERIES, DOCUMENTS, found_first(own)))
    found = Runner(output, use_cache=True).run([step])[step]
    assert [path.name for path in found.parts("vectors")] == [f"part-{number}.parquet" for number in range(4)]
    table = pa.concat_tables([pq.read_table(path) for path in found.parts("vectors")])
    assert table["id"].to_pylist()[::100] == ["d0-0", "d1-0", "d2-0", "d3-0"]
    about = json.loads(found.file("quantizer.json").read_text())
    quantizer = Quantizer(precision, about["largest"], np.array(about["mean"], np.float32))
    expected = quantizer(DOCUMENTS)
    columns = {"embedding": expected.searched} | ({"int8": expected.int8} if precision == "binary" else {})
    for name, values in columns.items():
        assert np.array_equal(np.stack(table[name].to_numpy()), values)
    report = found.report
    assert report[precision]["searched_bytes"] * (32 if precision == "binary" else 4) == report["float32"]["bytes"]
    assert report["relative_loss"] <= 0.01


def test_what_loses_too_much_is_not_written(output: Output, tmp_path: Path) -> None:
    made = embeddings(output)
    # Documents that are all but the same: few bits tell none from another.
    near = unit(np.repeat(DOCUMENTS[:1], 400, axis=0) + 1e-5 * RNG.standard_normal((400, 64)).astype(np.float32))
    rows = np.argmax(QUERIES.astype(np.float64) @ near.T.astype(np.float64), axis=1)
    step = quantized_step("binary", made, made, lambda: (QUERIES, near, found_first(rows)))
    with pytest.raises(UserError, match=r"--quantize binary loses .* of nDCG@10.*nothing of it was written"):
        Runner(output, use_cache=True).run([step])
    assert not [path for path in (tmp_path / "steps").glob(f"{NAME}-*") if (path / "manifest.json").exists()]
