"""Token stores: workers read texts where they lie and write their ids, and the stores are those of one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patent_embed.artifacts import Artifact, ArtifactStore, Outcome, Step
from patent_embed.config.model import ModelConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.folders import folder_at
from patent_embed.progress.bus import Progress
from pipelines import token_files
from pipelines.engine import Context, LocalModel, Output, StepSpec
from pipelines.token_files import TextRows, write_tokens

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]
ABSTRACTS = [f"一种装置，编号{i}，{'包括壳体' * (i % 7)}" for i in range(300)]
QUERIES = [f"编号{i}的装置" for i in range(200)]


def tables(folder: Path) -> Artifact:
    """Patents in two parts of two row groups each, and queries in one file."""

    def work(folder: Path) -> Outcome:
        (folder / "corpus").mkdir()
        for part, texts in enumerate((ABSTRACTS[:140], ABSTRACTS[140:])):
            pq.write_table(pa.table({"abstract": texts}), folder / "corpus" / f"part-{part}.parquet", row_group_size=90)
        pq.write_table(pa.table({"query": QUERIES}), folder / "queries.parquet", row_group_size=64)
        return Outcome()

    return ArtifactStore(folder_at(folder)).run(Step("tables", 1, {}, {}), work)


@pytest.mark.parametrize(("where", "actors"), [("here", False), ("here", True), ("store", True)])
def test_the_ids_are_those_of_the_encoder(
    tmp_path: Path, tiny_model: Path, s3: str, monkeypatch: pytest.MonkeyPatch, where: str, actors: bool
) -> None:
    monkeypatch.setattr(token_files, "_AT_ONCE", 32)
    monkeypatch.setattr(token_files, "_HERE", 0 if actors else 1000)
    out, found = tmp_path / "out", tables(tmp_path / "steps")
    out.mkdir()
    place = folder_at(out) if where == "here" else folder_at(f"{s3}/{tmp_path.name}/tokens")
    spec = StepSpec("tokens", 1, {}, {"model": LocalModel(tiny_model)}, lambda context: Outcome())
    # The model lies on this disk: the workers of this cluster do not know the store's address.
    context = Context(out, place, {}, spec, Output(folder_at(tmp_path)), Progress())
    asked, patents = np.array([0, 5, 63, 64, 199]), np.flatnonzero(np.arange(300) % 3)
    stores = {
        "train": [TextRows(found, "queries", "query", asked), TextRows(found, "corpus", "passage", patents)],
        "nothing": [TextRows(found, "corpus", "passage", patents[:0])],
    }
    encoder = Encoder.load(tiny_model)
    written = write_tokens(context, ModelConfig(), encoder, stores, out / "data")
    texts = (
        encoder.tokenize([QUERIES[i] for i in asked], "query"),
        encoder.tokenize([ABSTRACTS[i] for i in patents], "passage"),
    )
    np.testing.assert_array_equal(written["train"].ids, np.concatenate([each.ids for each in texts]))
    np.testing.assert_array_equal(written["train"].lengths, np.concatenate([each.lengths for each in texts]))
    assert len(written["nothing"]) == len(written["nothing"].ids) == 0
    names = [f"{store}-{part}.npy" for store in ("nothing", "train") for part in ("ids", "offsets")]
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == names
