"""A training goes on from a checkpoint as if it had never stopped; what is none of its own is refused."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest
import torch

from patent_embed.errors import UserError
from patent_embed.folders import folder_at
from patent_embed.training.checkpoint import damage, keep_checkpoint
from tests.unit.training.tiny import Silent, make_trainer, weights


@pytest.mark.parametrize(
    "settings",
    [{}, {"loss": "infonce"}, {"use_lora": False}, {"query_dropout": 0.4}, {"max_triplets_per_epoch": 20}],
)
def test_a_resumed_training_ends_bit_equal(tiny_model: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    """What it kept of the best epoch included, which is published here: all val queries find the others worse."""
    whole = make_trainer(tiny_model, [0.1, 0.2, 0.5, 0.3, 0.4], **settings)
    whole.fit(Silent(tmp_path))
    resumed = make_trainer(tiny_model, [0.3, 0.4], **settings)  # what is left after epoch 2
    resumed.load(tmp_path / "epoch-2")
    resumed.fit(Silent())
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))
    clean = [[{k: v for k, v in r.items() if k != "train_seconds"} for r in t.state.history] for t in (whole, resumed)]
    assert clean[0] == clean[1]
    whole.load_kept()
    resumed.load_kept()
    assert all(torch.equal(a, b) for a, b in zip(weights(whole).values(), weights(resumed).values(), strict=True))
    assert whole.state.kept_epoch == resumed.state.kept_epoch == 2


def test_checkpoints_are_refused_by_name(tiny_model: Path, tmp_path: Path) -> None:
    make_trainer(tiny_model, epochs=1).fit(Silent(tmp_path))
    folder = tmp_path / "epoch-1"
    other = make_trainer(tiny_model)
    other.state.fingerprint = "0" * 64
    with pytest.raises(UserError, match=r"belongs to training f{14}, this is 0{14}:"):
        other.load(folder)
    for name in ("weights", "best", "best-val", "optimizer"):
        file = folder / f"{name}.safetensors"
        content = file.read_bytes()
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(UserError, match=rf"is not a whole checkpoint \({name}\.safetensors is damaged\)"):
            make_trainer(tiny_model).load(folder)
        file.write_bytes(content)
    (folder / "state.json").write_text((folder / "state.json").read_text()[:50])
    with pytest.raises(UserError, match="is not a whole checkpoint"):
        make_trainer(tiny_model).load(folder)


def test_a_checkpoint_is_on_the_disk_before_it_is_named(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``fsync`` of each file, then its name, the state's last; and of the folder after each name."""
    make_trainer(tiny_model, epochs=1).fit(Silent(tmp_path))
    synced, done = set[int](), list[str]()
    really = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        really[0](descriptor)
        synced.add(status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            done.append("folder")

    def replace(source: Path, target: Path) -> None:
        assert os.stat(source).st_ino in synced
        really[1](source, target)
        done.append(target.name)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    place = folder_at(tmp_path / "kept")
    keep_checkpoint(tmp_path / "epoch-1", place)
    assert done[1::2] == ["folder"] * 5
    assert done[-2] == "state.json"
    assert damage(place) == ""
    assert len(set(done[::2])) == len(place.entries()) == 5
