"""What a shape of records is. Adding one is adding a module to this package with an instance of ``Shape``.

A shape turns an office's or a vendor's object (from JSON or Parquet) into the canonical fields, whose values may stand
in any layout that ``patent_embed.data.values`` and ``patent_embed.data.codes`` read: a text, a number, a list of
paragraphs, ``{"en": ..., "zh": ...}``, ``[{"lang": "en", "text": ...}]``; of codes also objects with ``code`` or
``symbol``, with ``section``/``class``/``subclass``/``main_group``/``subgroup``, and lists of these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Set
from functools import lru_cache
from typing import Any, ClassVar

from patent_embed.registry import Registry

_MOST_NAMES = 200  # an object with more names is a table of records, not a record: not worth remembering


class Shape(ABC):
    """One layout of a patent.

    Attributes:
        name: what inspect and the documentation call it.
        order: shapes are asked by this number, then by name; ``plain`` takes whatever no other one does.
    """

    name: ClassVar[str]
    order: ClassVar[int]

    @abstractmethod
    def recognises(self, names: Set[str]) -> bool:
        """Whether an object with these names (of its first level) has this shape.

        The answer depends on the names alone: it is remembered for all objects that have the same ones.
        """

    @abstractmethod
    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Canonical name (``patent_embed.data.fields.CANONICAL``) → value; what is not there is left out.

        It raises nothing, whatever the values are: a value of an unexpected type counts as one that is not there.
        """

    def inner(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]] | None:
        """Where an object of this shape is an envelope: the place (``.data[3]``) and value of each record in it.

        None: it is a record itself. An envelope without records yields nothing and counts as no record.
        """
        return None


SHAPES = Registry("patent_embed.data.shapes", Shape, "the shape")  # type: ignore[type-abstract]


def shape_of(fields: Mapping[str, Any]) -> Shape:
    """The first shape that recognises an object."""
    names = tuple(fields)
    return _of_names(names) if len(names) <= _MOST_NAMES else _of_names.__wrapped__(names)


@lru_cache(maxsize=1 << 12)
def _of_names(names: tuple[Any, ...]) -> Shape:
    known = frozenset(name for name in names if isinstance(name, str))
    return next(shape for shape in SHAPES if shape.recognises(known))
