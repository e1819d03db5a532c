"""What a sweep may vary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from patent_embed.config.load import load_config
from patent_embed.config.model import ModelConfig
from patent_embed.config.settings import Config
from patent_embed.config.training import TrainingConfig
from patent_embed.encoder.encoder import Encoder
from patent_embed.errors import UserError
from patent_embed.losses.base import LOSSES
from patent_embed.section import Role, Section, names_by_role, section_in
from patent_embed.sweep.space import Range, offered, search_space, with_values
from patent_embed.training.checkpoint import TrainState
from patent_embed.training.start import start_training
from patent_embed.training.validation import RetrievalSet
from tests.unit.training.tiny import Silent, make_data


def space(*settings: str) -> dict[str, Range]:
    return search_space(load_config(settings=settings))


def test_the_default_space_follows_the_loss() -> None:
    assert {path: str(values) for path, values in space().items()} == {
        "training.learning_rate": "loguniform(1e-05, 0.001)",
        "training.margin": "uniform(0.05, 0.5)",
    }
    assert set(space("training.loss=infonce")) == {"training.learning_rate", "training.temperature"}


def test_any_training_setting_can_be_varied() -> None:
    found = space(
        'tune.space.batch_size="choice(16, 32)"',
        'tune.space.lora.r="randint(4, 65)"',
        'tune.space.training.warmup_ratio="quniform(0, 0.3, 0.1)"',
        "tune.space.loss=\"choice('triplet', 'infonce')\"",
        'tune.space.temperature="loguniform(0.01, 0.1)"',
    )
    assert found["training.lora.r"] == Range("randint", (4, 65))
    assert found["training.loss"].arguments == ("triplet", "infonce")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ('tune.space.margin="uniform(0.05, 3)"', "margin 3 cannot be reached"),
        ('tune.space.marginn="uniform(0, 1)"', "training.marginn: there is no such setting"),
        ('tune.space.batch_size="uniform(8, 64)"', "valid integer"),
        ('tune.space.margin="0.3"', "which is no range"),
        ("tune.space.margin=\"__import__('os').getcwd()\"", "which is no range"),
        ('tune.space.margin="uniform(0.5, 0.1)"', "holds no two values"),
        ('tune.space.learning_rate="loguniform(0, 1)"', "low above 0"),
        ('tune.space.margin="choice(0.3)"', "nothing to choose"),
        ('tune.space.margin="uniform(0.1)"', r"must be uniform\(low, high\)"),
        ('tune.space.temperature="uniform(0.01, 0.1)"', "changes nothing, it needs training.loss=infonce"),
        ("tune.space.query_sources=\"choice('rules', 'llm')\"", "cannot differ between trials"),
        (
            'tune.space.num_workers="choice(1, 2)"',
            "cannot differ .*; set it for the whole sweep with --set training.num",
        ),
        ('tune.space.log_every="randint(1, 9)"', "training.log_every cannot differ between trials"),
        ('tune.space.checkpoint_every_n_epochs="choice(1, 2)"', "cannot differ between trials"),
        ('tune.space.soup_size="choice(1, 2)"', "is read when a training is published.*--set training.soup_size=..."),
        ('tune.space.base_share="uniform(0, 0.5)"', "is read when a training is published"),
        ("tune.space.publish=\"choice('best', 'last')\"", "is read when a training is published"),
    ],
)
def test_a_wrong_space_is_explained(setting: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        space(setting)


def test_what_belongs_to_adapters_needs_them() -> None:
    adapters = ('tune.space.lora.r="randint(4, 65)"', "training.use_lora=false")
    with pytest.raises(UserError, match=r"training\.lora\.r changes nothing, it needs training\.use_lora=True"):
        space(*adapters)
    assert space(*adapters, 'tune.space.use_lora="choice(True, False)"')


def recording(section: Section, path: str, read: set[str]) -> Any:
    """A copy of ``section`` that puts the paths of the settings that are read into ``read``."""
    kind: Any = type(section)

    class Recording(kind):  # type: ignore[misc]
        def __getattribute__(self, name: str) -> Any:
            if name in kind.model_fields and section_in(kind.model_fields[name].annotation) is None:
                read.add(f"{path}.{name}")
            return super().__getattribute__(name)

    inner = {
        name: recording(value, f"{path}.{name}", read) if isinstance(value, Section) else value
        for name, value in vars(section).items()
    }
    return Recording.model_construct(**inner)


def trial(model: Path, read: set[str], **settings: Any) -> TrainState:
    """What a trial trains: as long as it takes to read every setting that it ever reads."""
    encoder = Encoder.load(model, ModelConfig(), device=torch.device("cpu"))
    data = make_data(encoder, anchors=6)
    val = RetrievalSet(
        data.tokens.take(np.arange(6)), data.tokens.take(np.arange(6, 46)), data.family[:6], data.family[6:]
    )
    # So that no epoch is better than the first: early stopping looks at its patience.
    settings = {"epochs": 2, "batch_size": 8, "early_stopping_threshold": 1.0, **settings}
    config = Config(training=TrainingConfig(**settings))
    config = config.model_copy(update={"training": recording(config.training, "training", read)})
    read.clear()
    trainer = start_training(model, data, val, config, fingerprint="trial", device=torch.device("cpu"))
    return trainer.fit(Silent())


@pytest.mark.parametrize("use_lora", [True, False])
@pytest.mark.parametrize("loss", LOSSES.names())
def test_a_sweep_offers_what_a_trial_reads(tiny_model: Path, loss: str, use_lora: bool) -> None:
    read = set[str]()
    trial(tiny_model, read, loss=loss, use_lora=use_lora, query_dropout=0.2, matryoshka_dims=[8])
    others = names_by_role(TrainingConfig, Role.LOGISTICS, Role.PREPARED, Role.PUBLISHED)
    assert set(offered(TrainingConfig(loss=loss, use_lora=use_lora))) == read - {f"training.{name}" for name in others}


def test_no_value_of_a_trial_depends_on_what_is_published(tiny_model: Path) -> None:
    published = {"soup_size": 2, "base_share": 0.5, "publish": "last"}
    assert published.keys() == names_by_role(TrainingConfig, Role.PUBLISHED)
    one, other = (trial(tiny_model, set(), **settings) for settings in ({}, published))
    assert one.best_value == other.best_value
    for epoch, same in zip(one.history, other.history, strict=True):
        assert {**epoch, "train_seconds": 0} == {**same, "train_seconds": 0}


def test_values_are_checked_as_settings_are() -> None:
    config = load_config()
    assert with_values(config, {"training.lora.r": 4}).training.lora.r == 4
    with pytest.raises(UserError, match=r"training\.epochs"):
        with_values(config, {"training.epochs": 0})
