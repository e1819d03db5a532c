"""Values that hold classification symbols, in whatever layout, to one text with the symbols in their order.

Ancestors are left out: entries that say they are no leaf, and the ``tree`` that an entry carries. What is a symbol in
the text, and which ones are only steps on a path, is the business of ``patent_embed.ipc``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from patent_embed.data.values import DEEPEST, scalar_text, text_of, unfold

# Names inside an entry, without case and punctuation. The first of these that holds a text is the entry's symbol.
_SYMBOL_NAMES = (
    *("code", "symbol", "leafcode", "classificationsymbol", "ipcclasssymbol", "cpcclasssymbol", "classificationcode"),
    *(
        "ipcnumber",
        "cpcnumber",
        "ipccode",
        "cpccode",
        "ipcsymbol",
        "cpcsymbol",
        "classsymbol",
        "symbolcode",
        "fullcode",
    ),
    *("text", "value", "", "label", "classification", "分类号", "ipc分类号", "cpc分类号"),
)
# All of these count, whatever else there is: one entry with a symbol of each system.
_SYSTEMS = frozenset(("ipc", "cpc", "ipcr", "ipcs", "cpcs", "main", "further", "additional", "inventive", "ipc8"))
_ANCESTORS = frozenset(
    ("tree", "ancestors", "ancestor", "parents", "parent", "path", "hierarchy", "broader", "parentcode", "children")
)
_LEAF_NAMES = frozenset(("leaf", "isleaf"))
_PARTS = {name: name for name in ("section", "class", "subclass", "group", "subgroup")} | {
    "maingroup": "group",
    "mainclass": "class",
}
_PART = re.compile(r"(?:ipcr?|cpc|classification)?(\w+?)(?:symbol|code|id|number|no)?")  # of a name without punctuation
_NOT_PLAIN = re.compile(r"[\W_]+")
_WHOLE_SYMBOL = re.compile(
    r"\s*[A-HY]\s?\d{2}\s?[A-Z][\s-]*\d{1,4}\s*[/／]\s*\d{2,6}\s*(?:\([^)]*\)\s*\w?\s*)?", re.IGNORECASE
)


def classification_text(value: Any) -> str:
    """All symbols of a value and what stands between them, without ancestors; empty where there is nothing."""
    if type(value) is list and len(value) == 1:
        value = value[0]
    if type(value) is dict and type(code := value.get("code")) is str and code and len(value) == 1:
        return code if code[0] not in '[{("' else ";".join(_texts(value, 0))
    return ";".join(_texts(value, 0))


def split_symbol(fields: Mapping[Any, Any]) -> str:
    """The symbol whose section, class, subclass, group and subgroup stand in fields of their own; else nothing."""
    parts: dict[str, str] = {}
    for name, value in fields.items():
        part = _part(name) if isinstance(name, str) else None
        if part is not None and part not in parts:
            parts[part] = text_of(value).strip().upper()
    subclass, group, subgroup = (parts.get(name, "") for name in ("subclass", "group", "subgroup"))
    if not subclass or not (group or "/" in subgroup):
        return ""
    section, number = parts.get("section", ""), parts.get("class", "")
    head = subclass if len(subclass) == 4 else (number if len(number) == 3 else section + number.zfill(2)) + subclass
    for whole in (subgroup, group):  # "G06T3/40" or "3/40" in one field
        if "/" in whole:
            return whole if whole[:1].isalpha() else head + whole
    return f"{head}{group.removeprefix(head)}/{subgroup.zfill(2)}" if subgroup else ""


@lru_cache(maxsize=1 << 12)
def _part(name: str) -> str | None:
    """Which part of a symbol a field of this name holds."""
    match = _PART.fullmatch(_plain(name))
    return _PARTS.get(match[1]) if match is not None else None


def _texts(value: Any, depth: int) -> Iterator[str]:
    if depth > DEEPEST:
        return
    if isinstance(value, str):
        unfolded = unfold(value) if "{" in value or value[:1] == '"' else value  # symbols in a list stand as they are
        if isinstance(unfolded, str):
            yield unfolded
        else:
            yield from _texts(unfolded, depth + 1)
    elif isinstance(value, Mapping):
        yield from _of_entry(value, depth + 1)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, depth + 1)
    elif isinstance(value, bytes):
        yield scalar_text(value)


def _of_entry(entry: Mapping[Any, Any], depth: int) -> Iterator[str]:
    named = {_plain(name): value for name, value in entry.items() if isinstance(name, str)}
    if any(_is_false(named[name]) for name in _LEAF_NAMES & named.keys()):
        return
    if whole := split_symbol(entry):
        yield whole
        return
    own = next((name for name in _SYMBOL_NAMES if isinstance(named.get(name), str) and named[name].strip()), None)
    if own is not None:
        yield from _texts(named[own], depth)
    for name, value in named.items():
        if name == own or name in _ANCESTORS:
            continue
        if name in _SYSTEMS or isinstance(value, list | dict):
            yield from _texts(value, depth)
        elif own is None and isinstance(value, str) and _WHOLE_SYMBOL.fullmatch(value):
            yield value
    yield from (name for name in entry if isinstance(name, str) and _WHOLE_SYMBOL.fullmatch(name))


def _is_false(value: Any) -> bool:
    return (
        value is False
        or (isinstance(value, str) and value.strip().lower() in ("false", "0", "no"))
        or (value == 0 and isinstance(value, int | float))
    )


@lru_cache(maxsize=1 << 12)
def _plain(name: str) -> str:
    return _NOT_PLAIN.sub("", name).lower()
