"""What a sweep may vary, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from patent_embed.config.load import load_config
from patent_embed.errors import UserError
from patent_embed.sweep.results import Sweep, Trial, importance, table, write_results
from patent_embed.sweep.space import Range, search_space, with_values


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
    ],
)
def test_a_wrong_space_is_explained(setting: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        space(setting)


def sweep() -> Sweep:
    varied = {
        "training.learning_rate": Range("loguniform", (1e-5, 1e-3)),
        "training.margin": Range("uniform", (0.05, 0.5)),
    }
    rates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 5e-4]
    trials = [
        Trial(
            number,
            {"training.learning_rate": rate, "training.margin": 0.1 * number / 2},
            "done" if number % 2 else "halted",
            [0.5, 0.5 + number / 100, 0.5 + number / 50],
            seconds=10.0,
        )
        for number, rate in enumerate(rates[:5], start=1)
    ]
    failed = Trial(
        6, {"training.learning_rate": 5e-4, "training.margin": 0.5}, "failed", [0.5, 0.99], "the loss became nan"
    )
    return Sweep(varied, 2, [*trials, failed])


def test_the_best_trial_becomes_a_run(tmp_path: Path) -> None:
    config = load_config(options={"queries.api.key": "sk-very-secret", "data.data_dir": "d"})
    files = write_results(tmp_path, sweep(), config)
    assert [path.name for path in files] == ["results.parquet", "best.yaml", "sweep.png"]
    best = load_config(overlays=[tmp_path / "best.yaml"])
    assert (best.training.learning_rate, best.training.margin) == (1e-3, 0.25)
    assert (best.data.data_dir, best.queries.api.key) == ("d", None)
    assert "sk-very" not in (tmp_path / "best.yaml").read_text()
    rows = pq.read_table(tmp_path / "results.parquet").to_pylist()
    assert [row["state"] for row in rows] == ["done", "halted", "done", "halted", "done", "failed"]
    assert rows[4]["best_val_ndcg@10"] == pytest.approx(0.6)
    assert rows[5]["error"] == "the loss became nan"
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["training"]["margin"] == 0.25


def test_the_table_fits_a_terminal() -> None:
    lines = table(sweep(), 8, 2).splitlines()
    assert lines[0].split() == ["trial", "learning_rate", "margin", "epoch", "nDCG@10", "state"]
    assert lines[1].split() == ["6", "5.0e-4", "0.5", "1/2", "0.9900", "failed:", "the", "loss", "became", "nan"]
    assert lines[2].split() == ["5", "1.0e-3", "0.25", "2/2", "0.6000", "done"]
    assert lines[-1] == "6 of 8 trials ended, about 8.3 s left"
    assert max(map(len, lines)) <= 80


def test_importance_finds_the_setting_that_counts() -> None:
    found = importance(sweep())
    assert set(found) == {"training.learning_rate", "training.margin"}
    few = sweep()
    assert importance(Sweep(few.space, 2, few.trials[:3])) == {}


def test_values_are_checked_as_settings_are() -> None:
    config = load_config()
    assert with_values(config, {"training.lora.r": 4}).training.lora.r == 4
    with pytest.raises(UserError, match=r"training\.epochs"):
        with_values(config, {"training.epochs": 0})
