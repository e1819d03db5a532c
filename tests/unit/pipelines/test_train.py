"""Which checkpoint a training goes on from, on this machine and in a store."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from patent_embed.config.load import load_config
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from pipelines.steps.train import _resume_from, check_resume, latest_checkpoint

MINE, OTHER = "train-seed-1-01234567", "train-seed-2-89abcdef"


@pytest.fixture(params=["here", "store"])
def steps(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """The folder of all steps."""
    if request.param == "here":
        return folder_at(tmp_path / "steps")
    pytest.importorskip("moto.server")
    return folder_at(f"{request.getfixturevalue('s3')}/{tmp_path.name}/steps")


def write(training: Folder, checkpoint: str, epoch: int) -> Folder:
    """A checkpoint of a training."""
    files = {f"{name}.safetensors": f"{name} {epoch}".encode() for name in ("weights", "best", "best-val", "optimizer")}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    state = {"fingerprint": training.name, "epoch": epoch, "sha256": digests}
    for name, content in (files | {"state.json": json.dumps(state).encode()}).items():
        (training / checkpoint).write(name, content)
    return training / checkpoint


def config(resume: object) -> Config:
    return load_config(options={"run.resume": str(resume)})


def context(training: Folder) -> Any:
    """What of a training's context is asked for."""
    return SimpleNamespace(place=training, spec=SimpleNamespace(folder=training.name))


def test_the_checkpoint_with_the_most_epochs_is_the_latest(steps: Folder) -> None:
    training = steps / MINE
    assert latest_checkpoint(training) is None
    assert _resume_from(context(training), config("latest")) is None
    write(training, "attempt-2/epoch-0001", 1)
    most = write(training, "attempt-1/epoch-0003", 3)
    (training / "attempt-2" / "epoch-0004").write("state.json", b'{"epoch": 4')  # torn by a kill
    (training / "attempt-2" / "epoch-0005").write("weights.safetensors", b"")  # or before its state
    (training / "model").write("state.json", b'{"epoch": 9}')  # no checkpoint
    write(steps / OTHER, "attempt-1/epoch-0007", 7)
    assert latest_checkpoint(training) == most
    assert _resume_from(context(training), config("latest")) == most


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(
    steps: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    training = steps / MINE
    whole, cut, flipped = (write(training, f"attempt-1/epoch-000{n}", n) for n in (1, 2, 3))
    cut.delete("optimizer.safetensors")
    flipped.write("weights.safetensors", b"weights 4")
    assert latest_checkpoint(training) == whole
    said = " ".join(capsys.readouterr().out.split())
    assert "attempt-1/epoch-0003 is passed over: weights.safetensors is damaged" in said
    assert "attempt-1/epoch-0002 is passed over: optimizer.safetensors is missing" in said


def test_a_named_checkpoint_is_for_the_training_that_it_is_of(steps: Folder) -> None:
    mine, other = steps / MINE, steps / OTHER
    named = write(mine, "attempt-1/epoch-0001", 1)
    write(other, "attempt-1/epoch-0002", 2)
    assert _resume_from(context(mine), config(named)) == named
    assert _resume_from(context(other), config(named)) is None
    mine.delete("attempt-1")  # as when its training is done
    assert _resume_from(context(other), config(named)) is None


def test_a_checkpoint_that_cannot_be_gone_on_with_is_refused_at_once(steps: Folder) -> None:
    first, second = (SimpleNamespace(folder=name) for name in (MINE, OTHER))
    named = write(steps / MINE, "attempt-1/epoch-0001", 1)
    check_resume(config(named), [first, second])
    with pytest.raises(UserError, match=r"epoch-0001' belongs to training train-seed-1-0, this is train-seed-2-8"):
        check_resume(config(named), [second])
    named.write("state.json", b'{"fingerprint": ')
    with pytest.raises(UserError, match=r"epoch-0001' is not a whole checkpoint \(JSONDecodeError at state\.json\)"):
        check_resume(config(named), [first])
    nowhere = steps / "nowhere"
    with pytest.raises(UserError, match=r"nowhere' is not a whole checkpoint \(FileNotFoundError at state\.json\)"):
        check_resume(config(nowhere), [first])
    check_resume(config(nowhere), [])  # all trainings are done
    check_resume(config("latest"), [first])
