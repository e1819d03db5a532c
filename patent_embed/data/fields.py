"""Names of fields: what offices, vendors and people call a patent's parts, and what this program calls them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

# The fields that records have, whatever their source calls them. ``data.fields.<one of these>`` names its own.
CANONICAL = (
    "publication_number",
    "title",
    "abstract",
    "classifications",  # all codes, IPC and CPC, in any layout
    "claims",  # a text, or a list of claims
    "description",  # a text, or a list of paragraphs
    "citations",  # publication numbers of the patents that it cites
    "family_id",
    "publication_date",  # 20200131, 2020-01-31, 2020.01.31, a date
    "applicants",  # names
    "application_number",  # only where there is no publication number
)


@dataclass(frozen=True)
class FieldNames:
    """Which names of a source mean which canonical field.

    Args:
        chosen: pairs (canonical name, the source's name) that the user set (``data.fields.abstract=摘要文本``). A dot
            leads into objects: ``biblio.title``. They come before all that is known here.
    """

    chosen: tuple[tuple[str, str], ...] = field(default=())

    @classmethod
    def of(cls, chosen: Mapping[str, str | None]) -> FieldNames:
        """From the setting ``data.fields``: canonical name → the source's name, or None where nothing is set."""
        return cls(tuple((name, value) for name, value in chosen.items() if value))


@dataclass(frozen=True)
class FieldUse:
    """What becomes of the names of one record, for ``inspect``.

    Attributes:
        used: canonical name → the source's names that it is read from, the preferred one first.
        unused: the source's names that mean nothing here, in their order.
        near: (source's name, canonical name) of unused names that look like a field that none of the others holds:
            "摘要内容2" looks like ``abstract``.
    """

    used: dict[str, tuple[str, ...]]
    unused: tuple[str, ...]
    near: tuple[tuple[str, str], ...]


def field_use(names: Iterable[Any], known: FieldNames = FieldNames()) -> FieldUse:  # noqa: B008 - it is frozen
    """What a record with these names would be read from, and what of it would not be used.

    For inspect: the names of ``RawRecord.fields``. Names of objects inside count as ``biblio.title``.
    """
    raise NotImplementedError
