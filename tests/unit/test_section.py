"""Marks on fields: choices that a registry knows, roles, and the walk over all settings."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from patent_embed.section import (
    Choices,
    Cli,
    Role,
    Section,
    expand_home,
    marks,
    names_by_role,
    role_of,
    section_in,
    settings_in,
)

KNOWN = ["near", "far"]


class Inner(Section):
    size: int = 1


class Outer(Section):
    place: Annotated[str, Choices(lambda: KNOWN), Cli("place"), Cli("go_far", value="far")] = "near"
    maybe: Annotated[str | None, Choices(lambda: KNOWN)] = None
    several: Annotated[list[str], Choices(lambda: KNOWN)] = Field(default_factory=list)
    literal: Literal["near", "far"] = "near"
    speed: Annotated[int, Role.LOGISTICS] = Field(1, ge=1)
    sources: Annotated[list[str], Role.PREPARED] = Field(default_factory=list)
    inner: Inner = Field(default_factory=Inner)
    many: list[Inner] = Field(default_factory=list)


def refusal(**values: object) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(values)
    (error,) = caught.value.errors()
    return error["type"], error["msg"]


@pytest.mark.parametrize("value", ["x", "", 3, ["near"]])
def test_choices_refuse_what_a_literal_refuses_in_the_same_words(value: object) -> None:
    assert refusal(place=value) == refusal(literal=value) == refusal(maybe=value)


def test_choices_of_a_list_are_of_each_of_its_texts() -> None:
    assert Outer(several=["far", "near"]).several == ["far", "near"]
    assert refusal(several=["far", "new"]) == refusal(place="new")


def test_choices_are_asked_for_when_a_value_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(place="new")[1] == "Input should be 'near' or 'far'"
    monkeypatch.setattr(f"{__name__}.KNOWN", ["new"])
    assert Outer(place="new", maybe=None).place == "new"
    assert refusal(place="near")[1] == "Input should be 'new'"


def test_a_value_that_is_assigned_is_checked() -> None:
    outer = Outer()
    with pytest.raises(ValidationError, match="'near' or 'far'"):
        outer.place = "x"


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("~/x", "/home/me/x"),
        ("~", "/home/me"),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
        ("./~/x", "./~/x"),
        ("s3://bucket/~x", "s3://bucket/~x"),
        (Path("~/x"), Path("/home/me/x")),
        (Path("~nobody-of-this-name"), Path("~nobody-of-this-name")),
        (["~/x", "BAAI/bge"], ["/home/me/x", "BAAI/bge"]),
        (None, None),
    ],
)
def test_home_in_a_path(value: object, expanded: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expand_home(value) == expanded


def test_roles() -> None:
    assert names_by_role(Outer, Role.LOGISTICS) == {"speed"}
    assert names_by_role(Outer, Role.LOGISTICS, Role.PREPARED) == {"speed", "sources"}
    assert role_of(Outer.model_fields["place"]) is Role.RESULT


def test_several_options_of_one_field_stay_in_order() -> None:
    assert [mark.name for mark in marks(Outer.model_fields["place"], Cli)] == ["place", "go_far"]


def test_the_walk_goes_into_sections_and_names_the_entries_of_lists() -> None:
    paths = [path for path, _ in settings_in(Outer, "top")]
    assert paths == [
        *("top.place", "top.maybe", "top.several", "top.literal", "top.speed", "top.sources"),
        *("top.inner.size", "top.many", "top.many[].size"),
    ]


def test_section_in() -> None:
    assert section_in(Inner) is section_in(list[Inner]) is section_in(Inner | None) is Inner
    assert section_in(int) is section_in(dict[str, int]) is None
