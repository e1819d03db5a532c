"""Options of the command line: what the ``Cli`` marks of a section's fields say, and how argparse is told of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge
from pydantic.fields import FieldInfo

from patent_embed.section import Choices, Cli, Section, marks, settings_in


@dataclass(frozen=True)
class Option:
    """One option: the mark, and the field that it writes, by its dotted path."""

    mark: Cli
    path: str
    field: FieldInfo

    @property
    def spellings(self) -> list[str]:
        """``--max_samples`` and ``--max-samples``; nothing for an argument without dashes."""
        return [] if self.mark.positional else spellings(self.mark.name)

    @property
    def help(self) -> str:
        """What the option does; and the default, where the field has one that says something."""
        text, default = self.mark.help or self.field.description or "", self.field.default
        text = text.replace("None:", "without it:")
        said = self.mark.value is None and isinstance(default, str | int | float) and not isinstance(default, bool)
        return f"{text} (default: {default})" if said and default != "" else text


def spellings(name: str) -> list[str]:
    """``max_samples`` → ``--max_samples`` and ``--max-samples``."""
    return list(dict.fromkeys([f"--{name}", f"--{name.replace('_', '-')}"]))


def options_of(section: type[Section], path: str = "") -> Iterator[Option]:
    """The options of a section and of the sections in it, in the order of their fields."""
    for where, field in settings_in(section, path):
        for mark in marks(field, Cli):
            yield Option(mark, where, field)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """The values that a field may have, one of which it has or, if it is a list, some; empty: any."""
    for mark in marks(field, Choices):
        return tuple(mark.names())
    plain, _ = _value_type(field.annotation)
    return get_args(plain) if get_origin(plain) is Literal else ()


def add_options(
    parser: argparse._ActionsContainer, options: Iterable[Option], prefix: str, *, bounded: bool = False
) -> None:
    """Teach a parser, or a group of its help, the options.

    What is given stands in the parsed namespace under ``prefix`` and the path of the field; what is not given is not
    there, so that it overrides nothing.

    Args:
        bounded: argparse refuses what is below the field's bound; else only those who read the value do.
    """
    for option in options:
        parser.add_argument(*(option.spellings or [prefix + option.path]), **_argument(option, prefix, bounded))


def given(parsed: argparse.Namespace, prefix: str) -> dict[str, Any]:
    """Path → value of the options that ``add_options`` added with this ``prefix`` and the user gave."""
    return {name.removeprefix(prefix): value for name, value in vars(parsed).items() if name.startswith(prefix)}


def _argument(option: Option, prefix: str, bounded: bool) -> Mapping[str, Any]:
    """The arguments of ``add_argument`` besides the names."""
    mark, field = option.mark, option.field
    about: dict[str, Any] = {"help": option.help.replace("%", "%%"), "default": argparse.SUPPRESS}
    if option.spellings:
        about["dest"] = prefix + option.path
    if mark.value is not None:
        return about | {"action": "store_const", "const": mark.value}
    about |= {"metavar": mark.metavar or (mark.name if mark.positional else mark.name.upper())}
    if choices := choices_of(field):
        about |= {"choices": choices, "metavar": mark.metavar or None}
    kind, several = _value_type(field.annotation)
    about["type"] = _reader(kind, field if bounded else None)
    if option.spellings and field.is_required():
        about["required"] = True
    if mark.repeated:
        return about | {"action": "append"}
    if mark.alone is not None:
        return about | {"nargs": "?", "const": mark.alone}
    return about | ({"nargs": "+"} if several else {})


def _value_type(annotation: Any) -> tuple[Any, bool]:
    """The type of one value, without None, and whether the field is a list of them."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return _value_type(next(part for part in parts if part is not type(None)))
    if origin is list:
        return _value_type(parts[0])[0], True
    return annotation, False


def _reader(kind: Any, bounds: FieldInfo | None) -> Callable[[str], Any]:
    """What turns an option's text into a value of type ``kind``, not below the lower bound of the field ``bounds``."""
    read: Callable[[str], Any] = kind if kind in (int, float, Path) else str
    lowest = [mark.ge for mark in marks(bounds, Ge)] if bounds else []
    if not lowest:
        return read

    def bounded(text: str) -> Any:
        if (value := read(text)) < lowest[0]:
            raise argparse.ArgumentTypeError(f"{text} is not at least {lowest[0]}")
        return value

    bounded.__name__ = kind.__name__  # argparse says "invalid int value" of what is no number
    return bounded
