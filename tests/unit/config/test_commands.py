"""What commands take besides settings, and which settings are options of them."""

import pytest
from pydantic import ValidationError

from patent_embed.config.commands import COMMANDS, EncodeArguments, ExportArguments, RunArguments
from patent_embed.config.options import options_of
from patent_embed.config.settings import Config
from patent_embed.errors import UserError


def test_every_setting_of_a_command_exists() -> None:
    known = {option.path for option in options_of(Config)}
    for command in COMMANDS.values():
        for path in command.settings:
            assert path in Config.model_fields or path in known, (command.name, path)


def test_no_option_of_a_command_has_the_name_of_a_setting() -> None:
    for command in COMMANDS.values():
        names = [option.mark.name for option in (*options_of(command.arguments), *command.options())]
        assert len(names) == len(set(names)), command.name


def test_a_sweep_takes_what_a_run_takes_and_its_own() -> None:
    run, tune = ([option.path for option in COMMANDS[name].options()] for name in ("run", "tune"))
    assert [path for path in tune if not path.startswith("tune.")] == run
    assert len(tune) > len(run)


def test_presets_in_order() -> None:
    assert RunArguments().presets() == EncodeArguments().presets() == []
    assert RunArguments(recommended=True, quick_test=True).presets() == ["recommended", "quick_test"]
    assert RunArguments(recommended=True, preset="recommended").presets() == ["recommended"]
    assert RunArguments(preset="best").presets() == ["best"]


@pytest.mark.parametrize("preset", ["best", "quick_test"])
def test_two_recipes(preset: str) -> None:
    with pytest.raises(UserError, match=f"--recommended and --preset {preset} are two recipes; choose one"):
        RunArguments(recommended=True, preset=preset)


def test_an_id_column_needs_a_text_column() -> None:
    with pytest.raises(UserError, match="--id_column 'key' names texts, but without --text_column"):
        EncodeArguments(id_column="key")
    assert EncodeArguments(id_column="key", text_column="text").kind == "passage"


def test_bounds() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        EncodeArguments(rows_per_file=0)
    with pytest.raises(ValidationError, match="at least 1 item"):
        ExportArguments(output_dir="x", format=[])
