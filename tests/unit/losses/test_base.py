"""What holds for every loss, and that one more is one more module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import Field

from patent_embed.config.training import TrainingConfig
from patent_embed.errors import UserError
from patent_embed.losses import base
from patent_embed.losses.base import LOSSES, Loss, settings_of_all
from patent_embed.losses.triplet import Triplet
from patent_embed.section import Section
from patent_embed.training.objective import Objective
from tests.conftest import ROOT


def test_losses_and_their_settings_are_frozen() -> None:
    """Their order is that of the command line's help and of a config that is written."""
    assert LOSSES.names() == ["triplet", "infonce"]
    assert settings_of_all()().model_dump() == {"distance": "euclidean", "margin": 0.3, "temperature": 0.05}
    written = list(TrainingConfig.model_fields)
    assert written[written.index("loss") + 1 :][:4] == ["distance", "margin", "temperature", "max_grad_norm"]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_a_loss_is_lower_where_queries_are_nearer_to_their_own(loss: Loss[Section]) -> None:
    embeddings = torch.nn.functional.normalize(torch.randn(30, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    triplets, family = np.arange(30).reshape(10, 3), np.arange(30)
    settings = loss.settings_of(TrainingConfig(loss=loss.name))
    values = loss.losses(embeddings, triplets, family, settings)
    assert values.shape == (10,)
    nearer = embeddings.clone()
    nearer[triplets[:, 0]] = embeddings[triplets[:, 1]]
    assert loss.losses(nearer, triplets, family, settings).mean() < values.mean()


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_what_a_sweep_varies_is_a_setting_of_the_loss(loss: Loss[Section]) -> None:
    assert loss.ranges.keys() <= {*loss.settings.model_fields, "learning_rate"}


def test_a_card_names_the_settings_of_the_chosen_loss() -> None:
    training = TrainingConfig(margin=0.1)
    found = {loss.name: loss.described(loss.settings_of(training)) for loss in LOSSES}
    assert found == {"triplet": {"distance": "euclidean", "margin": 0.1}, "infonce": {"temperature": 0.05}}


def test_an_unknown_loss_is_an_error_and_no_other_loss() -> None:
    with pytest.raises(ValueError, match="Input should be 'triplet' or 'infonce'"):
        TrainingConfig(loss="info_nce")
    unchecked = TrainingConfig().model_copy(update={"loss": "info_nce"})
    with pytest.raises(UserError, match=r"training\.loss is 'info_nce', which is none of triplet, infonce"):
        Objective(unchecked, 8)


def test_a_name_means_one_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    class OtherSettings(Section):
        margin: float = Field(5.0, description="something else")

    class Other(Triplet):
        name, settings = "other", OtherSettings  # type: ignore[assignment]

    class Same(Triplet):
        name = "same"

    monkeypatch.setattr(base, "LOSSES", [Triplet(), Same()])
    assert list(settings_of_all().model_fields) == ["distance", "margin"]
    monkeypatch.setattr(base, "LOSSES", [Triplet(), Other()])
    with pytest.raises(TypeError, match="the loss 'other' has a setting 'margin' that is another loss's"):
        settings_of_all()


NEW = '''
from typing import Annotated
from pydantic import Field
from patent_embed.losses.base import Loss
from patent_embed.section import Cli, Section

class PullSettings(Section):
    strength: Annotated[float, Cli("pull_strength")] = Field(1.0, gt=0, description="pull: how much it counts")

class Pull(Loss[PullSettings]):
    """Draws queries to their own patents, and looks at nothing else."""
    name, settings, ranges = "pull", PullSettings, {"strength": "uniform(0.5, 2)"}

    def losses(self, embeddings, triplets, family, settings):
        query, own = embeddings[triplets[:, 0]], embeddings[triplets[:, 1]]
        return settings.strength * (1 - (query * own).sum(-1))

PULL = Pull()
'''
# Runs in a process of its own, since the settings are made when they are imported.
USE = """
import sys
import patent_embed.losses
patent_embed.losses.__path__.append(sys.argv[1])
import argparse
import pytest
import torch
from pathlib import Path
from patent_embed.config.commands import COMMANDS
from patent_embed.config.docs import settings_markdown
from patent_embed.config.load import load_config
from patent_embed.errors import UserError
from patent_embed.losses.base import LOSSES
from patent_embed.sweep.space import offered, search_space
from pipelines.cli import add_command_options, config_from

# Command line and settings, and their documentation.
parser = argparse.ArgumentParser()
add_command_options(parser, COMMANDS["run"])
training = config_from(parser.parse_args(["--loss", "pull", "--pull_strength", "3"]), COMMANDS["run"]).training
assert (training.loss, training.strength, training.margin) == ("pull", 3.0, 0.3)
assert LOSSES["pull"].described(LOSSES["pull"].settings_of(training)) == {"strength": 3.0}
assert "{triplet,infonce,pull}" in parser.format_help()
row = next(line for line in settings_markdown().splitlines() if line.startswith("| `training.strength` "))
assert "pull: how much it counts" in row and "--pull_strength" in row, row

# What a sweep varies.
pull = load_config(settings=["training.loss=pull"])
assert {path: str(values) for path, values in search_space(pull).items()} == {
    "training.learning_rate": "loguniform(1e-05, 0.001)", "training.strength": "uniform(0.5, 2)"}
assert "training.strength" in offered(training) and "training.margin" not in offered(training)
with pytest.raises(UserError, match="training.strength changes nothing, it needs training.loss=pull"):
    search_space(load_config(settings=['tune.space.strength="uniform(0.5, 2)"']))

# Training.
from tests.unit.training.tiny import Silent, make_trainer
curves = []
for strength in (1.0, 2.0):
    reporter = Silent()
    make_trainer(Path(sys.argv[2]), dropout=0.0, loss="pull", strength=strength, epochs=3).fit(reporter)
    curves.append(reporter.losses)
assert curves[1][0] == pytest.approx(2 * curves[0][0]) and curves[0][-1] < 0.7 * curves[0][0], curves
"""


def test_a_loss_is_added_by_adding_a_module(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "pull.py").write_text(NEW, encoding="utf-8")
    command = [sys.executable, "-c", USE, tmp_path, tiny_model]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
