"""The settings and the command line that users rely on: names and defaults change only on purpose."""

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

from patent_embed.config.commands import COMMANDS
from patent_embed.config.load import dump_config, load_config
from patent_embed.config.options import options_of, spellings
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from pipelines.cli import add_command_options, config_from, main
from tests.conftest import ROOT


def parser_of(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_command_options(parser, COMMANDS[command])
    return parser


def parse(*arguments: str) -> Config:
    return config_from(parser_of("run").parse_args(arguments), COMMANDS["run"])


OF_A_RUN = {
    "data_dir", "output_dir", "model_name", "max_samples", "batch_size", "learning_rate", "num_epochs", "margin",
    "loss", "negatives_per_positive", "negative_strategy", "use_lora", "no_use_lora", "num_workers", "query_backend",
    "use_api_llm", "llm_api_key", "llm_base_url", "llm_model", "no_query_cache", "use_cache", "no_use_cache", "resume",
    "checkpoint_every_n_epochs", "test_only", "seed", "log_level",
    "config", "set", "recommended", "preset", "quick_test", "plan",
}  # fmt: skip
OF_ENCODE = {
    "data_dir", "output_dir", "model_name", "max_samples", "seed", "log_level", "config", "set",
    "text_column", "id_column", "kind", "rows_per_file", "quantize", "measured_on",
}  # fmt: skip
# command → options, and what stands without dashes
FROZEN = {
    "run": (OF_A_RUN, []),
    "tune": (OF_A_RUN | {"num_samples", "max_concurrent", "refit"}, []),
    "coverage": (OF_A_RUN, []),
    "compare": (OF_A_RUN | {"benchmark"}, ["MODEL"]),
    "encode": (OF_ENCODE, []),
    "serve": ({"data_dir", "host", "port", "judgements", "max_requests"}, ["output_dir"]),
    "index": ({"to", "data_dir"}, ["output_dir"]),
    "export": ({"format", "force", "max_documents"}, ["output_dir"]),
    "verify": ({"engines", "endpoint_model", "max_passages"}, ["output_dir"]),
    "benchmark": ({"split", "kinds", "name", "license"}, ["output_dir", "DIR"]),
    "adapt": ({"output_dir", "force", "max_documents"}, ["OLD", "NEW"]),
    "inspect": ({"config", "set", "json", "limit"}, ["DIR"]),
    "sample": ({"count", "seed", "layout"}, ["folder"]),
}


def test_the_commands_are_frozen() -> None:
    assert list(COMMANDS) == list(FROZEN)


@pytest.mark.parametrize("command", FROZEN)
def test_the_option_table_is_frozen(command: str) -> None:
    names, positional = FROZEN[command]
    actions = parser_of(command)._actions
    found = {string for action in actions for string in action.option_strings} - {"-h", "--help"}
    assert found == {spelling for name in names for spelling in spellings(name)}
    assert [action.metavar for action in actions if not action.option_strings] == positional


# option → what an option given with this value writes: type, choices and flags are as they were
FROZEN_VALUES: dict[str, tuple[list[str], Any]] = {
    "data.data_dir": (["--data_dir", "7"], "7"),
    "data.max_samples": (["--max_samples", "7"], 7),
    "training.batch_size": (["--batch_size", "7"], 7),
    "training.learning_rate": (["--learning_rate", "1e-3"], 1e-3),
    "training.epochs": (["--num_epochs", "7"], 7),
    "training.margin": (["--margin", "1"], 1.0),
    "training.loss": (["--loss", "infonce"], "infonce"),
    "training.num_workers": (["--num_workers", "2"], 2),
    "training.checkpoint_every_n_epochs": (["--checkpoint_every_n_epochs", "2"], 2),
    "negatives.per_positive": (["--negatives_per_positive", "2"], 2),
    "negatives.strategy": (["--negative_strategy", "hard"], "hard"),
    "model.name": (["--model_name", "bundled"], "bundled"),
    "queries.api.base_url": (["--llm_base_url", "http://x"], "http://x"),
    "queries.llm.model": (["--llm_model", "x"], "x"),
    "queries.use_cache": (["--no_query_cache"], False),
    "run.use_cache": (["--use_cache", "--no_use_cache"], False),
    "run.test_only": (["--test_only"], True),
    "run.seed": (["--seed", "7"], 7),
    "run.log_level": (["--log_level", "DEBUG"], "DEBUG"),
}


@pytest.mark.parametrize("path", FROZEN_VALUES)
def test_an_option_writes_its_setting(path: str) -> None:
    arguments, value = FROZEN_VALUES[path]
    found: Any = parse(*arguments)
    for part in path.split("."):
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


CHOICES = {
    "loss": {"triplet", "infonce"},
    "negative_strategy": {
        *("optimized_mixed", "same_group_priority", "same_subclass_different_group", "mixed", "random", "hard"),
    },
    "query_backend": {"llm", "api", "rules"},
    "log_level": {"DEBUG", "INFO", "WARNING", "ERROR"},
    "preset": {"recommended", "best", "quick_test", "prior-art"},
}


def test_choices_are_frozen() -> None:
    actions = {action.option_strings[0]: action for action in parser_of("tune")._actions}
    assert {name: set(actions[f"--{name}"].choices or ()) for name in CHOICES} == CHOICES
    assert {name.removeprefix("--") for name, action in actions.items() if action.choices} == set(CHOICES)
    kinds = {action.dest.partition(":")[2]: action.choices for c in FROZEN for action in parser_of(c)._actions}
    assert set(kinds["kind"] or ()) == {"passage", "query"}
    assert set(kinds["format"] or ()) == {"fp32", "fp16", "bf16", "onnx", "onnx-int8", "openvino", "openvino-int8"}
    assert set(kinds["layout"] or ()) == {"files", "jsonl", "jsonl.gz"}


def test_every_option_writes_a_setting_that_exists() -> None:
    defaults = Config().model_dump()
    defaults["queries"]["api"]["key"] = None  # never dumped
    for option in options_of(Config):
        value: object = defaults
        for part in option.path.split("."):
            assert isinstance(value, dict)
            assert part in value, option.path
            value = value[part]


def test_recommended_recipe() -> None:
    training = load_config(presets=["recommended"]).training
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
        (("--set", "training.mined_negatives=false"), "loss 'triplet' has no negatives but the mined ones"),
        (("--set", "training.epochs=0"), r"training.epochs: .* \(got 0\)"),
        (("--batch_size", "0"), r"training.batch_size: .* \(got 0\)"),
        (("--set", "training.loss=x"), r"training.loss: Input should be 'triplet' or 'infonce' \(got 'x'\)"),
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


# What the options pin, as users know it: docs/quality.md and README were measured and written with these.
BEST = {
    "negatives": {"scoring": {"enabled": False}},
    "training": {
        "loss": "infonce",
        "temperature": 0.02,
        "batch_size": 256,
        "learning_rate": 5e-4,
        "epochs": 12,
        "query_dropout": 0.4,
        "base_share": "auto",
        "soup_size": 2,
        "early_stopping_patience": 0,
        "publish": "last",
    },
}
QUICK_TEST = {
    "run": {"publish": "always"},
    "data": {"max_samples": 100},
    "model": {"name": "bundled"},
    "queries": {"backend": "rules"},
    "training": {"epochs": 2, "batch_size": 4},
}


def test_presets_are_frozen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    for name, tree in (("best", BEST), ("quick_test", QUICK_TEST), ("recommended", {})):
        overlay = tmp_path / f"{name}.yaml"
        overlay.write_text(yaml.safe_dump(tree))
        assert parse("--preset", name) == load_config(overlays=[overlay]) == load_config(presets=[name])
    assert parse("--preset", "recommended") == parse("--recommended")
    assert parse("--preset", "quick_test") == parse("--quick_test")
    both = parse("--preset", "best", "--quick_test")
    assert (both.training.loss, both.training.epochs, both.training.batch_size) == ("infonce", 2, 4)


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
    assert capsys.readouterr().err.startswith("patent-embed: error: --id_column 'key' names texts, but without --text_")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("encode", "--rows_per_file", "0"), "argument --rows_per_file/--rows-per-file: 0 is not at least 1"),
        (("export", "out", "--format", "fp16", "--max_documents", "-1"), "-1 is not at least 1"),
        (("export", "out", "--format", "int4"), "argument --format: invalid choice: 'int4'"),
        (("export", "--format", "fp16"), "the following arguments are required: output_dir"),
        (("index", "out", "--to", "faiss", "pinecone"), "argument --to: invalid choice: 'pinecone'"),
        (("export", "out"), "the following arguments are required: --format"),
        (("sample", "out", "--count", "x"), "argument --count: invalid int value: 'x'"),
        (("compare",), "the following arguments are required: MODEL"),
        (("run", "--batch_siz", "3"), "unrecognized arguments: --batch_siz"),
    ],
)
def test_arguments_that_argparse_refuses(
    arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err
