"""docs/settings.md is what the models say, and says all of it."""

from patent_embed.config.docs import settings_markdown
from patent_embed.config.load import preset_names
from patent_embed.config.options import options_of
from patent_embed.config.settings import Config
from patent_embed.section import settings_in
from tests.conftest import ROOT

TEXT = settings_markdown()


def row(path: str) -> list[str]:
    lines = TEXT[TEXT.index("\n## run") :].splitlines()  # behind the presets
    (line,) = [line for line in lines if line.startswith(f"| `{path}` |")]
    return line.strip("| ").split(" | ")


def test_the_file_is_up_to_date() -> None:
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == TEXT, "the settings changed: run make docs"


def test_every_setting_has_a_row() -> None:
    assert all(f"\n| `{path}` | " in TEXT for path, _ in settings_in(Config))


def test_every_option_stands_beside_its_setting() -> None:
    for option in options_of(Config):
        assert f"`--{option.mark.name}`" in row(option.path)[-1], option.path


def test_types_defaults_and_bounds() -> None:
    assert row("training.batch_size")[1:4] == ["integer", "`32`", "≥ 1"]
    assert row("training.query_dropout")[1:4] == ["number", "`0.0`", "≥ 0, < 1"]
    assert row("data.max_samples")[1:4] == ["integer or None", "`None`", "≥ 2"]
    assert row("training.loss")[1:4] == ["text", "`triplet`", "`triplet` `infonce`"]
    assert row("run.grows_to[].cpus")[1:4] == ["integer", "required", "≥ 1"]
    assert row("queries.kinds")[1:3] == [
        "mapping to number",
        "`{question: 0.5, scenario: 0.2, keywords: 0.15, claim: 0.15}`",
    ]


def test_presets_are_listed() -> None:
    assert f"| setting | default | {' | '.join(preset_names())} |" in TEXT
    assert "| `training.batch_size` | `32` | `256` | `64` | `4` | `32` |" in TEXT
