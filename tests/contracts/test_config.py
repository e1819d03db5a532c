"""The settings and the command line that users rely on: names and defaults change only on purpose."""

from pathlib import Path

import pytest
import yaml

from patent_embed.config.load import BEST, dump_config, load_config, recommended_settings
from patent_embed.config.options import OPTIONS, TUNE_OPTIONS
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from pipelines.cli import add_run_options, add_tune_options, config_from, main, spellings
from tests.conftest import ROOT

import argparse  # isort: skip


def parse(*arguments: str) -> Config:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_run_options(parser)
    return config_from(parser.parse_args(arguments))


FROZEN_OPTIONS = {
    "data_dir", "output_dir", "model_name", "max_samples", "batch_size", "learning_rate", "num_epochs", "margin",
    "loss", "negatives_per_positive", "negative_strategy", "use_lora", "no_use_lora", "num_workers", "query_backend",
    "use_api_llm", "llm_api_key", "llm_base_url", "llm_model", "no_query_cache", "use_cache", "no_use_cache", "resume",
    "checkpoint_every_n_epochs", "test_only", "seed", "log_level",
    "config", "set", "recommended", "preset", "quick_test", "plan",
}  # fmt: skip


def test_the_option_table_is_frozen() -> None:
    parser = argparse.ArgumentParser()
    add_run_options(parser)
    found = {string for action in parser._actions for string in action.option_strings} - {"-h", "--help"}
    assert found == {spelling for name in FROZEN_OPTIONS for spelling in spellings(name)}


def test_the_option_table_of_a_sweep_is_frozen() -> None:
    parser = argparse.ArgumentParser()
    add_tune_options(parser)
    found = {string for action in parser._actions for string in action.option_strings} - {"-h", "--help"}
    own = {"num_samples", "max_concurrent", "refit"}
    assert found == {spelling for name in FROZEN_OPTIONS | own for spelling in spellings(name)}


def test_every_option_writes_a_setting_that_exists() -> None:
    defaults = Config().model_dump()
    defaults["queries"]["api"]["key"] = None  # never dumped
    for option in (*OPTIONS, *TUNE_OPTIONS):
        value: object = defaults
        for part in option.path.split("."):
            assert isinstance(value, dict)
            assert part in value, option.path
            value = value[part]


def test_recommended_recipe() -> None:
    training = load_config(recommended=True).training
    assert (training.batch_size, training.learning_rate, training.epochs) == (32, 2e-5, 5)
    assert (training.warmup_ratio, training.weight_decay, training.loss, training.margin) == (0.1, 0.01, "triplet", 0.3)
    assert (training.lora.r, training.lora.alpha, training.lora.dropout) == (16, 32, 0.1)
    assert (training.checkpoint_every_n_epochs, training.early_stopping_patience) == (1, 3)


def test_precedence(tmp_path: Path) -> None:
    overlay = tmp_path / "o.yaml"
    overlay.write_text("training: {epochs: 9, margin: 0.9, max_grad_norm: 2.0}\n")
    assert parse("--config", str(overlay)).training.epochs == 9
    pinned = parse("--config", str(overlay), "--recommended", "--margin", "0.2", "--set", "training.lora.r=4").training
    assert (pinned.epochs, pinned.margin, pinned.lora.r, pinned.max_grad_norm) == (5, 0.2, 4, 2.0)


def test_both_spellings() -> None:
    assert parse("--max-samples", "7").data.max_samples == parse("--max_samples", "7").data.max_samples == 7
    assert parse("--no-use-lora").training.use_lora is parse("--no_use_lora").training.use_lora is False
    assert parse("--use_api_llm").queries.backend == "api"
    assert (parse("--resume").run.resume, parse("--resume", "x").run.resume) == ("latest", "x")
    assert parse().run.resume is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--set", "training.marginn=1"), "training.marginn: there is no such setting"),
        (("--margin", "5"), "margin 5 cannot be reached"),
        (("--set", "training.epochs=0"), r"training.epochs: .* \(got 0\)"),
        (("--set", "epochs"), "is not section.key=value"),
        (("--set", "splits.train=0.5"), "must be 1"),
        (("--config", "/nowhere.yaml"), "cannot be read"),
        (("--recommended", "--preset", "best"), "are two recipes"),
    ],
)
def test_wrong_settings_are_named(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse(*arguments)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_every_overlay_in_the_repository_loads(path: Path) -> None:
    load_config(overlays=[path])


def test_overlays_named_like_a_preset_are_that_preset() -> None:
    assert yaml.safe_load((ROOT / "configs/recommended.yaml").read_text()) == recommended_settings()
    assert load_config(overlays=[ROOT / "configs/quick_test.yaml"]) == load_config(quick_test=True)
    assert yaml.safe_load((ROOT / "configs/best.yaml").read_text()) == BEST
    assert parse("--preset", "best").training == load_config(overlays=[ROOT / "configs/best.yaml"]).training
    assert parse("--preset", "recommended") == parse("--recommended")


def test_the_key_is_in_no_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "sk-very-secret"
    for config in (parse("--llm_api_key", secret), (monkeypatch.setenv("OPENAI_API_KEY", secret), parse())[1]):
        assert config.queries.api.key is not None
        assert config.queries.api.key.get_secret_value() == secret
        for text in (dump_config(config), repr(config), config.model_dump_json(), str(config.model_dump())):
            assert secret not in text
    with pytest.raises(UserError) as caught:
        parse("--set", f"queries.api.key=[{secret}]")
    assert secret not in str(caught.value)


def test_a_dump_is_read_back(tmp_path: Path) -> None:
    config = parse("--margin", "0.2", "--max_samples", "50")
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(overlays=[path]) == config


def test_an_id_column_needs_a_text_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "--data_dir", "x", "--id_column", "key"]) == 2
    assert "without --text_column the folder holds patents" in capsys.readouterr().err
