"""Registries that a new file joins by being there: what a setting chooses among, each in a module of one package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cached_property
from typing import Generic, Protocol, TypeVar

from patent_embed.errors import UserError


class Registered(Protocol):
    """What a registry holds.

    Attributes:
        name: the setting's value that chooses it.
        order: where it stands in lists of choices, by this number and then by name.
    """

    @property
    def name(self) -> str:
        """The setting's value that chooses it."""

    @property
    def order(self) -> int:
        """Where it stands in lists of choices."""


T = TypeVar("T", bound=Registered)


class Registry(Generic[T]):
    """The instances of ``kind`` that stand in the modules of ``package``. They are read when first asked for.

    Args:
        package: dotted name. Its module ``base`` says what ``kind`` is; every other one must hold an instance of it.
        setting: the one whose value names an instance, for messages.
    """

    def __init__(self, package: str, kind: type[T], setting: str) -> None:
        self._package, self._kind, self._setting = package, kind, setting

    def __iter__(self) -> Iterator[T]:
        return iter(self._found.values())

    def names(self) -> list[str]:
        """The setting's possible values, in the order in which a user reads them."""
        return list(self._found)

    def __getitem__(self, name: str) -> T:
        """Raises UserError where there is none of that name."""
        if name not in self._found:
            raise UserError(f"{self._setting} is {name!r}, which is none of {', '.join(self._found)}; name one of them")
        return self._found[name]

    @cached_property
    def _found(self) -> dict[str, T]:
        found: dict[str, T] = {}
        for info in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
            if info.name == "base":
                continue
            module = importlib.import_module(f"{self._package}.{info.name}")
            here = [value for value in vars(module).values() if isinstance(value, self._kind)]
            if not here:
                raise TypeError(f"{module.__name__} holds no {self._kind.__name__}: every module beside base must")
            for each in here:
                if found.setdefault(each.name, each) is not each:
                    raise TypeError(f"{module.__name__} has a second {self._kind.__name__} named {each.name!r}")
        return {each.name: each for each in sorted(found.values(), key=lambda each: (each.order, each.name))}
