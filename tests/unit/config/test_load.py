"""From YAML, presets, options and --set to one config: order, mistakes, secrets, and the presets' files."""

from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from patent_embed.config.load import flat, load_config, preset_names, preset_settings, put
from patent_embed.config.settings import Config
from patent_embed.config.training import LoraConfig
from patent_embed.errors import UserError

SECRET = "sk-very-secret"


def test_later_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", tmp_path / "2.yaml"
    first.write_text("training: {epochs: 9, lora: {r: 2, alpha: 3}, loss: triplet}\n")
    second.write_text("training: {lora: {r: 4}}\n")
    training = load_config(
        overlays=[first, second],
        presets=["best", "quick_test"],
        options={"training.epochs": 3},
        settings=["training.epochs=7", "training.max_grad_norm=2"],
    ).training
    assert (training.lora.r, training.lora.alpha) == (4, 3)
    assert (training.loss, training.batch_size, training.epochs, training.max_grad_norm) == ("infonce", 4, 7, 2.0)


def test_an_empty_overlay_changes_nothing(tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing\n")
    assert load_config(overlays=[empty]) == Config()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- a\n", "holds a list, needs sections"),
        ("training: {epochs: 1\n", "is not YAML: line 2, column 1: expected"),
        ("training: 5\n", "training: is a section with settings of its own, not a value"),
        ("trainings: {}\n", "trainings: there is no such setting"),
    ],
)
def test_overlays_that_are_none(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "o.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        load_config(overlays=[path])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_overlays_as_editors_save_them(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "o.yaml"
    path.write_bytes("training:\r\n  epochs: 3  # 训练轮数\r\nmodel: {query_prompt: 检索：}\r\n".encode(encoding))
    config = load_config(overlays=[path])
    assert (config.training.epochs, config.model.query_prompt) == (3, "检索：")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"training:\n\tepochs: 1\n", "is not YAML: line 2, column 1: a tab, where YAML wants blanks"),
        (b"training:\n  epochs: 1\n\tmargin: 2\n", "is not YAML: line 3, column 1: a tab, where YAML wants blanks"),
        (b"a: 1\nb: \xff\xff\n", "is no text: line 2 is neither UTF-8 nor GB18030; save it as UTF-8"),
        (b"a: 1\nb: \0\n", r"is not YAML: line 2: the character '\x00' may not be there"),
        (b"a: 2020-13-45\n", "is not YAML: month must be in 1..12"),
        (b"[" * 5000, "is not YAML: nested too deeply"),
        (b"a: [\n", "is not YAML: line 2, column 1: expected the node content, but found '<stream end>'"),
    ],
)
def test_broken_overlays_are_told_in_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "o.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_config(overlays=[path])
    assert str(caught.value) == f"config file '{path}' {says}"


def test_overlays_of_users(shared_data: Path) -> None:
    folder = shared_data.parent / "cases" / "60-config"
    config = load_config(overlays=[folder / "bom.yaml", folder / "gbk.yaml"])
    assert (config.training.epochs, config.data.max_samples) == (1, 30)
    with pytest.raises(UserError, match=r"tab\.yaml' is not YAML: line 2, column 1: a tab, where YAML wants blanks"):
        load_config(overlays=[folder / "tab.yaml"])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model.query_prompt=query: ", "query: "),
        ("model.passage_prompt=passage: ", "passage: "),
        ("model.query_prompt=a: b: c", "a: b: c"),
        ("model.query_prompt='a: '", "a: "),
        ('model.query_prompt="a:\\nb"', "a:\nb"),
        ("model.query_prompt=[a", "[a"),
        ("model.query_prompt=*x", "*x"),
        ("model.query_prompt=null", None),
        ("queries.api.model=123", "123"),
        ("data.fields.abstract=摘要: 全文", "摘要: 全文"),
        ("data.fields.publication_date=2020-01-02", "2020-01-02"),
        ("training.lora=r: 3", LoraConfig(r=3)),
        ("training.epochs=3", 3),
    ],
)
def test_what_set_takes_for_text(setting: str, value: Any) -> None:
    found: Any = load_config(settings=[setting])
    for name in setting.partition("=")[0].split("."):
        found = getattr(found, name)
    assert found == value


def test_home_is_expanded_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    overlay = tmp_path / "o.yaml"
    overlay.write_text("queries: {cache: ~/c.json, round_trip: {encoder: ~/e}, llm: {model: ~/m}}\n")
    config = load_config(
        overlays=[overlay],
        options={"data.data_dir": "~/d", "run.output_dir": "~"},
        settings=["model.name=~/n", "model.query_prompt=~/not a path"],
    )
    queries = config.queries
    found = [config.data.data_dir, config.run.output_dir, config.model.name, queries.cache, queries.round_trip.encoder]
    assert [*found, queries.llm.model] == [str(tmp_path / name) for name in ("d", "", "n", "c.json", "e", "m")]
    assert config.model.query_prompt == "~/not a path"


@pytest.mark.parametrize("setting", ["=1", "training", "training.margin: 1"])
def test_a_setting_without_name_or_value(setting: str) -> None:
    with pytest.raises(UserError, match=r"is not section\.key=value"):
        load_config(settings=[setting])


def test_a_section_under_a_value() -> None:
    with pytest.raises(UserError, match="'epochs' is a value, not a section"):
        load_config(options={"training.epochs": 3}, settings=["training.epochs.x=1"])


def test_every_mistake_is_listed() -> None:
    with pytest.raises(UserError) as caught:
        load_config(settings=["training.epochs=0", "splits.vall=1", "training.margin=5"])
    assert "training.epochs" in str(caught.value)
    assert "splits.vall" in str(caught.value)


@pytest.mark.parametrize(
    "mistake",
    [
        {"settings": [f"queries.api.key=[{SECRET}]"]},
        {"settings": [f"queries.api.key=[{SECRET}"]},
        {"settings": [f"queries.api.key={{a: {SECRET}}}"]},
        {"options": {"queries.api.key": [SECRET]}},
    ],
)
def test_no_message_holds_a_key(mistake: dict[str, Any]) -> None:
    with pytest.raises(UserError) as caught:
        load_config(**mistake)
    assert SECRET not in str(caught.value)
    assert "queries.api.key" in str(caught.value)


def test_no_message_about_yaml_holds_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "o.yaml"
    path.write_text(f"queries: {{api: {{key: {SECRET}, model: [}}}}\n")
    with pytest.raises(UserError, match="is not YAML") as caught:
        load_config(overlays=[path])
    assert SECRET not in str(caught.value)


def test_a_config_tree_and_back() -> None:
    tree: dict[str, Any] = {}
    paths = {"training.lora.r": 1, "training.margin": 2, "run.seed": 3}
    for path, value in paths.items():
        put(tree, path, value)
    assert tree == {"training": {"lora": {"r": 1}, "margin": 2}, "run": {"seed": 3}}
    assert flat(tree) == paths


def test_presets_are_files_of_the_package() -> None:
    folder = resources.files("patent_embed.config") / "presets"
    assert preset_names() == sorted(file.name.removesuffix(".yaml") for file in folder.iterdir())
    assert set(preset_names()) >= {"recommended", "best", "quick_test"}


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_says_what_it_sets(name: str) -> None:
    config = flat(load_config(presets=[name]).model_dump())
    preset = flat(preset_settings(name))
    assert preset
    assert {path: config[path] for path in preset} == preset


def test_the_recommended_preset_is_the_defaults() -> None:
    defaults, preset = flat(Config().model_dump()), flat(preset_settings("recommended"))
    assert preset == {path: defaults[path] for path in preset}
    # So that it pins all that the table of options says it pins.
    assert set(preset) >= {f"training.{name}" for name in ("batch_size", "learning_rate", "epochs", "loss", "lora.r")}


def test_an_unknown_preset() -> None:
    with pytest.raises(
        UserError, match="there is no preset 'bets'; choose one of best, prior-art, quick_test, recommended"
    ):
        load_config(presets=["bets"])
