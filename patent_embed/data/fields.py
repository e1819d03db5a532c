"""Names of fields: what offices, vendors and people call a patent's parts, and what this program calls them.

A name is compared without case, width, brackets, blanks, underscores and invisible characters: "公开（公告）号",
"公开(公告)号 " and "公开公告号" are one name. What is left may carry a language ("标题 (中文)", "title_en", "摘要(译)
(简体中文)"), or a word for whose it is ("专利名称"). Names are in ``field_names``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from patent_embed.data import field_names
from patent_embed.data.field_names import NAMES

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
REQUIRED = CANONICAL[:4]


class Source(NamedTuple):
    """A name of the source that a field is read from, and the language that the name tells (``zh``, ``en``, ...)."""

    name: str
    language: str


Plan = Mapping[str, tuple[Source, ...]]
_MOST_NAMES = 2000  # an object with more is a table of records by their numbers


@dataclass(frozen=True)
class FieldNames:
    """Which names of a source mean which canonical field.

    Args:
        chosen: pairs (canonical name, the source's name) that the user set (``data.fields.abstract=摘要文本``). A dot
            leads into objects: ``biblio.title``. Such a field is read from there alone.
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


def field_use(names: Iterable[Any], known: FieldNames = FieldNames()) -> FieldUse:
    """What a record with these names would be read from, and what of it would not be used.

    For inspect: the names of ``RawRecord.fields``, where the record's shape is ``plain``.
    """
    given = tuple(name for name in names if isinstance(name, str))
    used = {canonical: tuple(source.name for source in sources) for canonical, sources in plan(given).items()}
    for canonical, name in known.chosen:
        used[canonical] = (name,)
    taken = {name for sources in used.values() for name in sources}
    taken |= {name.partition(".")[0] for name in taken}
    unused = tuple(name for name in given if name not in taken)
    near = tuple((name, looks) for name in unused if (looks := _looks_like(normal(name))) and looks not in used)
    return FieldUse(used, unused, near)


def plan(names: tuple[Any, ...]) -> Plan:
    """Canonical name → the names among ``names`` that hold it, the preferred one first; what is no text is no name.

    All of ``classifications`` count; of other fields the first that holds something in the wanted language.
    """
    return _plan(names) if len(names) <= _MOST_NAMES else {}


@lru_cache(maxsize=1 << 12)
def _plan(names: tuple[Any, ...]) -> Plan:
    found: dict[str, list[tuple[int, int, Source]]] = {}
    for place, name in enumerate(names):
        if isinstance(name, str) and (known := _known(normal(name))) is not None:
            canonical, rank, language = known
            found.setdefault(canonical, []).append((rank, place, Source(name, language)))
    return {
        canonical: tuple(source for _, _, source in sorted(found[canonical]))
        for canonical in CANONICAL
        if canonical in found
    }


def value_at(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a name that may lead into objects (``biblio.title``); None where it leads nowhere."""
    if name in fields:
        return fields[name]
    wanted = normal(name)
    for key, value in fields.items():
        if isinstance(key, str) and normal(key) == wanted:
            return value
    head, dot, rest = name.partition(".")
    while dot:
        inside = fields.get(head)
        if isinstance(inside, Mapping):
            return value_at(inside, rest)
        if isinstance(inside, list) and inside and isinstance(inside[0], Mapping):
            return [value_at(each, rest) for each in inside if isinstance(each, Mapping)]
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


_PUBLICATION_NUMBER = re.compile(r"[A-Z]{2}[\s-]?\d{4,}[\d\s/-]*[A-Z]?\d{0,2}", re.IGNORECASE)


def is_publication_number(text: str) -> bool:
    """Whether a text is a publication number with its country: ``CN110000001A``, ``US-8024075-B2``."""
    return len(text) <= 30 and _PUBLICATION_NUMBER.fullmatch(text.strip()) is not None


_NOT_PLAIN = re.compile(r"[\W_]+")


@lru_cache(maxsize=1 << 14)
def normal(name: str) -> str:
    """A name without what exports differ in: case, width, punctuation, blanks, invisible characters."""
    return _NOT_PLAIN.sub("", unicodedata.normalize("NFKC", name)).lower()


_BY_NAME: dict[str, tuple[str, int]] = {
    normal(name): (canonical, rank)
    for canonical, names in reversed(NAMES.items())
    for rank, name in reversed(list(enumerate(names)))
}
# Longer marks first: "译简体中文" ends with "中文".
_MARKS = sorted(field_names.LANGUAGES.items(), key=lambda pair: -len(pair[0]))
_SCRIPTS = re.compile("[a-z0-9]+|[^a-z0-9]+")
_WITH_LANGUAGE = 1000  # added to the rank of a name that is known without its mark
_MOST_MARKS = 3


@lru_cache(maxsize=1 << 14)
def _known(name: str) -> tuple[str, int, str] | None:
    """(canonical name, rank, language) of a normal name; None where it means nothing here."""
    language = ""
    bare = name
    for marks in range(_MOST_MARKS + 1):
        if bare in _BY_NAME:
            canonical, rank = _BY_NAME[bare]
            return canonical, rank + marks * _WITH_LANGUAGE, language
        mark = next(
            (each for each in _MARKS if bare != each[0] and (bare.endswith(each[0]) or bare.startswith(each[0]))), None
        )
        if mark is None:
            break
        language = language or mark[1]
        bare = bare.removesuffix(mark[0]) if bare.endswith(mark[0]) else bare.removeprefix(mark[0])
    parts = [_BY_NAME[part] for part in _SCRIPTS.findall(name) if part in _BY_NAME]
    if len(parts) == len(_SCRIPTS.findall(name)) > 1 and len({canonical for canonical, _ in parts}) == 1:
        return parts[0][0], parts[0][1] + _WITH_LANGUAGE, ""  # "公开号 Publication Number", "Title-题名"
    if _names_codes(name):
        return "classifications", _WITH_LANGUAGE, ""
    return None


def _names_codes(name: str) -> bool:
    """Whether a name that is in no list names classification symbols: "主IPC分类号-小组", "cpc_codes_all"."""
    about = any(part in name for part in field_names.ABOUT_CODES)
    return about and not any(part in name for part in field_names.NO_CODES)


def _looks_like(name: str) -> str:
    """The canonical field that an unknown name reminds of; else nothing."""
    for part, canonical in field_names.REMINDS_OF:
        if part in name and not any(other in name for other in field_names.REMINDS_OF_NOTHING):
            return canonical
    return ""
