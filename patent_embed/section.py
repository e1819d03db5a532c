"""What every section of the settings is: a pydantic model, and what its fields say of themselves.

A field's annotation may carry a ``Cli``, which makes it an option of the command line, a ``Role``, which says when it
counts, ``Choices``, which name the values of a text that a registry knows, and ``UserPath``, which expands ``~``::

    num_workers: Annotated[int, Cli("num_workers"), Role.LOGISTICS] = Field(1, ge=1, description="training workers")
    loss: Annotated[str, Choices(lambda: list(LOSSES))] = Field("triplet", description="what is minimised")
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from patent_embed.credentials import ADVICE, credential_in

Mark = TypeVar("Mark")


LARGEST_INT = 2**63 - 1  # torch, Arrow and Parquet have 64 bits
_LONGEST_PATH = 4096  # Linux's PATH_MAX


class Section(BaseModel):
    """A part of the settings. A name that it does not have is an error, and so is a credential: only a SecretStr, which
    is never written, may hold one. Numbers are finite and have 64 bits, texts are Unicode without NUL."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)

    @model_validator(mode="after")
    def _can_be_used(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if found := credential_in(value):
                raise ValueError(f"{name} holds {found}: {ADVICE}")
            if found := _unusable(value):
                raise ValueError(f"{name} holds {found}")
        return self


class Role(StrEnum):
    """When a setting counts. Digests of steps and the ranges of a sweep follow from it."""

    RESULT = "result"  # it changes what a step makes; what a field is unless it says otherwise
    PREPARED = "prepared"  # it decides what a training is given, before there is one
    PUBLISHED = "published"  # it is read when a training is over, to make of it what is published
    # It changes how a step runs, not what comes out; or it only says where something lies, and digests take what lies
    # there. It is in no digest.
    LOGISTICS = "logistics"


@dataclass(frozen=True)
class Cli:
    """An option of the command line that writes the field; both ``--max_samples`` and ``--max-samples`` are known.

    Type, bounds and choices are the field's. A list takes one or more values, an option that is ``repeated`` one each
    time it is given.

    Attributes:
        name: with underscores, without dashes.
        help: of the option; empty: the field's description.
        value: given: the option is a flag that writes this value.
        alone: given: what the option writes where no value follows it (``--resume``).
        metavar: what stands for the value in the help; empty: the name in capitals, or the choices.
        positional: it is an argument without dashes.
        repeated: it may be given more than once, for one value of a list each time.
    """

    name: str
    help: str = ""
    value: Any = None
    alone: str | None = None
    metavar: str = ""
    positional: bool = False
    repeated: bool = False


@dataclass(frozen=True)
class Choices:
    """The values that a text, or each of a list of texts, may have, where they are not known before a registry or a
    folder is read.

    A ``Literal`` for what is known when it is asked for: other values are refused with the same words.
    """

    names: Callable[[], Sequence[str]]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        check = self._each_checked if get_origin(source) is list else self._checked
        return core_schema.no_info_before_validator_function(check, handler(source))

    def _each_checked(self, value: Any) -> Any:
        return [self._checked(each) for each in value] if isinstance(value, list) else value

    def _checked(self, value: Any) -> Any:
        names = self.names()
        if value is None or value in names:
            return value
        *others, last = [repr(name) for name in names]
        expected = f"{', '.join(others)} or {last}" if others else last
        raise PydanticCustomError("literal_error", "Input should be {expected}", {"expected": expected})


@dataclass(frozen=True)
class Needs:
    """The field is read only where the setting ``name`` of the same section is ``value``."""

    name: str
    value: Any


def _unusable(value: Any) -> str:
    """What no file, digest or library takes of a value, or of those in a list or mapping. Empty where all is well."""
    match value:
        case Section() | bool():
            return ""
        case str() | Path():
            text = str(value)
            if "\0" in text:
                return "a NUL character: no file or text can have one"
            if any("\ud800" <= character <= "\udfff" for character in text):
                return "half of a surrogate pair, which is no character: write it in UTF-8"
            if isinstance(value, Path) and len(text) > _LONGEST_PATH:
                return f"a path of {len(text):,} characters: none may have more than {_LONGEST_PATH:,}"
        case int() if abs(value) > LARGEST_INT:
            return f"a number beyond 64 bits: set it to {LARGEST_INT} at most"
        case float() if not math.isfinite(value):
            return f"{value}, which is no finite number"
        case Mapping():
            return next((found for pair in value.items() for each in pair if (found := _unusable(each))), "")
        case list() | tuple():
            return next((found for each in value if (found := _unusable(each))), "")
    return ""


def expand_home(value: Any) -> Any:
    """A path, or a list of paths, with a leading ``~`` or ``~USER`` as that home folder. What else there is, such as
    None or the address of a store, stays."""
    match value:
        case list():
            return [expand_home(item) for item in value]
        case Path():
            return Path(os.path.expanduser(value))  # not Path.expanduser, which raises for a user that is not known
        case str():
            return os.path.expanduser(value)
    return value


UserPath = AfterValidator(expand_home)  # a mark: the field is a path, which a shell may have left with its "~"


def marks(field: FieldInfo, kind: type[Mark]) -> list[Mark]:
    """The marks of one ``kind`` in a field's annotation, in order."""
    return [mark for mark in field.metadata if isinstance(mark, kind)]


def role_of(field: FieldInfo) -> Role:
    """The role that a field's annotation names."""
    return next(iter(marks(field, Role)), Role.RESULT)


def names_by_role(section: type[Section], *roles: Role) -> set[str]:
    """The fields of ``section`` that have one of ``roles``."""
    return {name for name, field in section.model_fields.items() if role_of(field) in roles}


def section_in(annotation: Any) -> type[Section] | None:
    """The section that a field's annotation is, or is a list of; None for a plain value."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := section_in(part)) is not None), None)


def settings_in(section: type[Section], path: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every setting of a section and of the sections in it, in order, with its dotted path below ``path``.

    A list of sections is a setting, followed by those of one entry: ``run.grows_to``, ``run.grows_to[].cpus``.
    """
    for name, field in section.model_fields.items():
        where, inner = f"{path}.{name}" if path else name, section_in(field.annotation)
        if inner is None or inner is not field.annotation:
            yield where, field
        if inner is not None:
            yield from settings_in(inner, where if inner is field.annotation else f"{where}[]")
