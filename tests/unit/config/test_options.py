"""Fields to options: types, bounds and choices come from the field, and nothing that is not given is written."""

import argparse
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, SecretStr

from patent_embed.config.options import add_options, choices_of, given, options_of
from patent_embed.section import Choices, Cli, Section


class Inner(Section):
    key: Annotated[SecretStr | None, Cli("api_key")] = Field(None, description="a key; None: no key")


class Example(Section):
    folder: Annotated[Path, Cli("folder", positional=True)] = Field(description="where")
    size: Annotated[int | None, Cli("max_size")] = Field(None, ge=2, description="at most 5 % more; None: all")
    share: Annotated[float, Cli("share", "the share")] = Field(0.5, gt=0, description="of all")
    kind: Annotated[Literal["a", "b"], Cli("kind"), Cli("all_b", "kind b", value="b")] = Field("a", description="kind")
    named: Annotated[str, Choices(lambda: ["x", "y"]), Cli("named")] = Field("x", description="from a registry")
    on: Annotated[bool, Cli("on", value=True), Cli("off", "not on", value=False)] = Field(True, description="on")
    again: Annotated[str | None, Cli("again", alone="latest")] = Field(None, description="go on")
    files: Annotated[list[Path], Cli("file", metavar="FILE", repeated=True)] = Field([], description="files")
    formats: Annotated[list[Literal["p", "q"]], Cli("format")] = Field(description="formats")
    hidden: int = Field(1, description="no option")
    inner: Inner = Field(default_factory=Inner)


def parser(*, bounded: bool = False) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="x", allow_abbrev=False)
    add_options(made, options_of(Example), "e:", bounded=bounded)
    return made


def parse(*arguments: str, bounded: bool = False) -> dict[str, Any]:
    return given(parser(bounded=bounded).parse_args(["f", "--format", "p", *arguments]), "e:")


def test_only_what_is_given_is_there() -> None:
    assert parse() == {"folder": Path("f"), "formats": ["p"]}


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        (["--max_size", "7"], "size", 7),
        (["--max-size", "7"], "size", 7),
        (["--share", "1"], "share", 1.0),
        (["--kind", "b"], "kind", "b"),
        (["--all_b"], "kind", "b"),
        (["--named", "y"], "named", "y"),
        (["--on", "--off"], "on", False),
        (["--again"], "again", "latest"),
        (["--again", "7"], "again", "7"),
        (["--file", "a", "--file", "b"], "files", [Path("a"), Path("b")]),
        (["--format", "q", "p"], "formats", ["q", "p"]),
        (["--api_key", "7"], "inner.key", "7"),
    ],
)
def test_an_option_writes_its_field(arguments: list[str], path: str, value: object) -> None:
    found = parse(*arguments)[path]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--max_size", "x"], "invalid int value: 'x'"),
        (["--kind", "c"], "invalid choice: 'c'"),
        (["--named", "z"], "invalid choice: 'z'"),
        (["--max_size", "1"], "argument --max_size/--max-size: 1 is not at least 2"),
    ],
)
def test_what_argparse_refuses(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(*arguments, bounded=True)
    assert says in capsys.readouterr().err


def test_bounds_are_left_to_the_settings_unless_asked_for() -> None:
    assert parse("--max_size", "1")["size"] == 1


def test_what_has_no_default_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args([])
    assert "the following arguments are required: folder, --format" in capsys.readouterr().err


def test_help_is_the_description_and_the_default() -> None:
    helps = {option.mark.name: option.help for option in options_of(Example)}
    assert helps["max_size"] == "at most 5 % more; without it: all"
    assert helps["share"] == "the share (default: 0.5)"
    assert (helps["on"], helps["off"], helps["all_b"]) == ("on", "not on", "kind b")
    assert "at most 5 % more" in parser().format_help()


def test_choices_of_fields() -> None:
    fields = Example.model_fields
    assert choices_of(fields["kind"]) == ("a", "b")
    assert choices_of(fields["named"]) == ("x", "y")
    assert choices_of(fields["formats"]) == ("p", "q")
    assert choices_of(fields["size"]) == ()
