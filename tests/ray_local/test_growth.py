"""A corpus that grew: its steps come out as those of the same patents read at once, and old patents keep theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from patent_embed.artifacts import Artifact
from patent_embed.config.load import load_config
from patent_embed.data.sample import write_sample
from patent_embed.ipc import subclass
from pipelines.engine import needed_for
from pipelines.job import execute, recipe_of
from pipelines.output_folder import working_in

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


def made(patents: Path, out: Path, model: Path) -> dict[str, Artifact]:
    """The steps up to a training's tokens, and the base model's vectors, by name."""
    options = {
        "data.data_dir": str(patents),
        "run.output_dir": str(out),
        "model.name": str(model),
        "queries.backend": "rules",
        "negatives.scoring.enabled": False,
    }
    config = load_config(options=options)
    with working_in(config, "test", ()) as output:
        recipe = recipe_of(config, output)
        assert recipe.tokens is not None
        embed = next(step for step in recipe.steps if step.name == "embed-base")
        wanted = {step for last in (recipe.tokens, embed) for step in needed_for(last, recipe.steps)}
        results = execute(config, output, [step for step in recipe.steps if step in wanted])
    return {step.name: artifact for step, artifact in results.made.items()}


def of_patents(table: pa.Table, numbers: pa.Array) -> pa.Table:
    return table.filter(pc.is_in(table["publication_number"], value_set=numbers)).combine_chunks()


def test_what_grew_is_what_is_read_at_once(tmp_path: Path, tiny_model: Path) -> None:
    patents, out = tmp_path / "patents", tmp_path / "grown"
    write_sample(patents, 330)
    later = [path for path in sorted(patents.glob("*.json")) if "A01D" in path.read_text(encoding="utf-8")][::2]
    for path in later:
        path.rename(tmp_path / path.name)
    old = made(patents, out, tiny_model)
    for path in later:
        (tmp_path / path.name).rename(path)
    grown, at_once = made(patents, out, tiny_model), made(patents, tmp_path / "at-once", tiny_model)
    assert grown["embed-base"].report["taken"]["vectors"] == 330 - len(later) < 300
    for name in ("ingest", "splits", "queries", "negatives", "tokens"):
        assert grown[name].manifest.sha256 == at_once[name].manifest.sha256, name
    vectors = {
        name: np.load(each["embed-base"].file("passages.npy"))
        for name, each in {"old": old, "grown": grown, "at once": at_once}.items()
    }
    np.testing.assert_allclose(vectors["grown"], vectors["at once"], atol=1e-5)
    numbers = old["splits"].table("splits")["publication_number"].combine_chunks()
    was = pc.is_in(grown["splits"].table("splits")["publication_number"], value_set=numbers).to_numpy()
    np.testing.assert_array_equal(vectors["grown"][was], vectors["old"])
    _old_patents_keep(old, grown, numbers)


def _old_patents_keep(old: Mapping[str, Artifact], grown: Mapping[str, Artifact], numbers: pa.Array) -> None:
    """Its query; its family and split, where nobody came into the family; its negatives, where besides nobody of such a
    family is in its subclasses, and none of them is random."""
    splits = grown["splits"].table("splits")
    new = pc.invert(pc.is_in(splits["publication_number"], value_set=numbers))
    joined = pc.is_in(splits["family"], value_set=splits["family"].filter(new).combine_chunks())
    alone = splits["publication_number"].filter(pc.invert(joined)).combine_chunks()
    assert len(alone) > 250
    for name, kept in (("queries", numbers), ("splits", alone)):
        before, after = (of_patents(each[name].table(name), kept) for each in (old, grown))
        assert after.equals(before), name
    corpus = grown["ingest"].table("corpus", "codes")["codes"].to_pylist()
    subclasses = [{subclass(code.partition("/")[0]) for code in codes} for codes in corpus]
    entered = set().union(*(found for found, moved in zip(subclasses, joined.to_pylist(), strict=True) if moved))
    near = pa.array([bool(found & entered) for found in subclasses])
    before, after = (each["negatives"].table("negatives") for each in (old, grown))
    random = before.filter(pc.equal(before["rung"], "random"))["publication_number"].combine_chunks()
    apart = splits["publication_number"].filter(pc.invert(near)).combine_chunks()
    apart = apart.filter(pc.invert(pc.is_in(apart, value_set=random)))
    assert len(apart) > 50
    assert of_patents(after, apart).equals(of_patents(before, apart))
