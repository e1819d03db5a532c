"""What a plan writes at least, from its steps, and when a disk is called too small."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from patent_embed.artifacts import Outcome
from patent_embed.config.load import load_config
from patent_embed.data.inputs import PatentFiles
from patent_embed.errors import UserError
from patent_embed.folders import Entry, folder_at
from pipelines.disk import check_disk, check_writable, least_bytes
from pipelines.engine import Digest, LocalModel, StepSpec

MB = 1_000_000


def step(name: str, **inputs: Any) -> StepSpec:
    return StepSpec(name=name, version=1, settings={}, inputs=inputs, work=lambda context: Outcome())


@pytest.fixture
def plan(tmp_path: Path) -> list[StepSpec]:
    """A run on 100 MB of files with a model of 3 MB and 8 numbers a vector."""
    model = tmp_path / "model"
    (model / "inner").mkdir(parents=True)
    (model / "model.safetensors").write_bytes(bytes(3 * MB))
    (model / "pytorch_model.bin").write_bytes(bytes(5 * MB))  # the same weights once more
    (model / "inner" / "config.json").write_text('{"hidden_size": 8}')
    files = PatentFiles(folder_at(tmp_path), [Entry("a.json", 60 * MB, 0), Entry("b.zip", 40 * MB, 0)], 0, "digest")
    ingest = step("ingest", files=files)
    base = LocalModel(model)
    embed_base = step("embed-base", model=base, ingest=ingest)
    trained = step("train", model=base, tokens=Digest("x"))
    return [ingest, embed_base, trained, step("embed-tuned", model=trained, ingest=ingest)]


def finished(rows: dict[str, int]) -> Any:
    return lambda identity: SimpleNamespace(manifest=SimpleNamespace(rows=rows)) if identity.name == "ingest" else None


def test_what_a_run_writes(plan: list[StepSpec]) -> None:
    config = load_config()
    parts = least_bytes(config, plan, lambda identity: None)
    assert parts == {"models": 6 * MB, "checkpoints": 0, "vectors": 0, "corpus": 2 * MB, "other": 10 << 20}
    later = least_bytes(config, plan[1:], finished({"patents": 1000, "records": 2000}))
    assert later == parts | {"corpus": 0, "vectors": 2 * 1000 * 8 * 2}
    full = load_config(settings=["training.use_lora=false", "training.keep_checkpoints=2"])
    assert least_bytes(full, plan, lambda identity: None)["checkpoints"] == 3 * 2 * 3 * MB
    assert sum(least_bytes(full, [], lambda identity: None).values()) == 10 << 20


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_disk_that_is_too_small(plan: list[StepSpec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def usage(free: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or Usage(0, 0, free))

    needed = 8 * MB + (10 << 20)
    usage(needed)
    check_disk(tmp_path / "not" / "there", load_config(), plan, lambda identity: None)
    assert asked == [tmp_path]
    usage(needed - 1)
    with pytest.raises(UserError) as caught:
        check_disk(tmp_path / "out", load_config(), plan, lambda identity: None)
    assert str(caught.value) == (
        f"'{tmp_path}/out' has room for 18 MB, and the run needs 18 MB at least (models 6 MB, corpus 2 MB, other 10 MB)"
        "; free some, or set --output_dir to a larger disk"
    )


@pytest.mark.parametrize("folder", ["there", "not/yet/there"])
def test_what_can_be_written(folder: str, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.rglob("*"))
    check_writable(tmp_path / folder, "HOME")
    assert sorted(tmp_path.rglob("*")) == before


def test_what_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to("nowhere")
    for folder in (
        Path("/proc/nowhere/x"),
        tmp_path / "file" / "x",
        tmp_path / "file",
        tmp_path / "dangling" / "x",
        tmp_path / ("x" * 300),
    ):
        with pytest.raises(UserError) as error:
            check_writable(folder, "HOME")
        assert str(error.value).startswith(f"{str(folder)!r} cannot be written (")
        assert str(error.value).endswith("set HOME to a folder that can")
