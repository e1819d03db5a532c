"""What every section of the settings is: a pydantic model, and what its fields say of themselves.

A field's annotation may carry a ``Cli``, which makes it an option of the command line, and a ``Role``, which says when
it counts::

    num_workers: Annotated[int, Cli("num_workers"), Role.LOGISTICS] = Field(1, ge=1, description="training workers")
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Section(BaseModel):
    """A part of the settings. A name that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Role(StrEnum):
    """When a setting counts. Digests of steps and the ranges of a sweep follow from it."""

    RESULT = "result"  # it changes what a step makes; what a field is unless it says otherwise
    PREPARED = "prepared"  # it decides what a training is given, before there is one
    PUBLISHED = "published"  # it is read when a training is over, to make of it what is published
    LOGISTICS = "logistics"  # it changes how a step runs, not what comes out: it is in no digest


@dataclass(frozen=True)
class Cli:
    """An option of the command line that writes the field; both ``--max_samples`` and ``--max-samples`` are known.

    Attributes:
        name: with underscores, without dashes.
        help: of the option; empty: the field's description.
        value: given: the option is a flag that writes this value.
        alone: given: what the option writes where no value follows it (``--resume``).
    """

    name: str
    help: str = ""
    value: Any = None
    alone: str | None = None


def role_of(field: FieldInfo) -> Role:
    """The role that a field's annotation names."""
    return next((mark for mark in field.metadata if isinstance(mark, Role)), Role.RESULT)


def names_by_role(section: type[Section], *roles: Role) -> set[str]:
    """The fields of ``section`` that have one of ``roles``."""
    return {name for name, field in section.model_fields.items() if role_of(field) in roles}
