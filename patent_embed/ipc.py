"""IPC and CPC symbols: text in any common spelling to a normal form, and the hierarchy above it.

A full symbol names a subgroup: ``G06T3/4076`` = section G, class G06, subclass G06T, main group G06T3
(the part before the slash, one to four digits), subgroup 4076. The layout follows WIPO's Guide to the IPC
and, for the indexing ("2000") series and section Y, the CPC scheme's definitions.
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# Section, class, subclass; then main group and subgroup about a slash, or in DOCDB's fixed columns of four and six
# digits ("G06T0003400000"), or as three digits, which can only be one and two ("G06T340" is 3/40, while "G06F1730" may
# be 17/30 or 1/730 and is not read). Boundaries keep an application number or a Locarno class ("21-01-C0293") from
# looking like a symbol.
_SYMBOL = re.compile(
    r"(?<![A-Z0-9])([A-HY])\s?(\d{2})\s?([A-Z])"
    r"(?:[\s_-]*(\d{1,4})\s*[/\\]+\s*(\d{2,6})(?!\d)|(\d{4})(\d{6})(?![\d/\\])|(\d)(\d{2})(?![\d/\\:]))"
)
_SLASHES = str.maketrans("∕⁄╱⧸", "////")
# "Int.Cl.7G06T3/40": the edition stands before the section without a blank.
_EDITION = re.compile(r"\bCL\.?\s*\d{1,2}(?=[A-HY]\d{2}[A-Z])|\b[CI]PC[-_]?\d{0,2}(?=[A-HY]\d{2}[A-Z])")
# What follows a symbol in a path from the section to the leaf: the symbol is an ancestor, no code of the patent.
_LEADS_ON = re.compile(r"\s*(?:\([^()]*\)\s*)?(?:→|⇒|➔|➜|»|›|->|=>|>)")
_ARROWS = ("→", "⇒", "➔", "➜", "»", "›", ">")
# The beginning of such a path where nothing but the order of symbols tells: "G; G06; G06T; G06T3/00; G06T3/40; ...".
_CHAIN = re.compile(r"(?<![A-Z0-9])([A-HY])[^A-Z0-9]+(\1\d{2})[^A-Z0-9]+(\2[A-Z])(?![A-Z0-9])")
SECTIONS = {
    "A": "human necessities",
    "B": "operations, transport",
    "C": "chemistry, metallurgy",
    "D": "textiles, paper",
    "E": "fixed constructions",
    "F": "mechanical engineering",
    "G": "physics",
    "H": "electricity",
}
_INDEXING_MAIN_GROUP = 1000  # CPC: main groups from 1000 up, mostly 2000 up, only index; they do not classify.


def find_codes(text: str) -> list[str]:
    """All full symbols in ``text``, normalised, in order, without repeats.

    Reads blanks (``G06T 3/4076``), hyphens (``G06T-003/40``), version and value marks (``G06T3/40(2006.01)I``),
    full-width characters, any slash, zero padding (``G06F017/60``), fixed columns (``G06T0003400000``) and any
    separator between symbols. Symbols cut above the subgroup are not returned, nor digits without a slash that may be
    cut in two ways.
    """
    return list(dict.fromkeys(code for code, _, _ in _symbols(_folded(text))))


@lru_cache(maxsize=1 << 16)
def leaf_codes(text: str) -> tuple[str, ...]:
    """The same without ancestors: of a path through the hierarchy only its end.

    Paths are symbols joined by arrows (``B → B25 → B25B21/00 → B25B21/004``), any number of them in one text, or
    symbols one after the other that begin with section, class and subclass (``G; G06; G06T; G06T3/00; G06T3/40``).
    """
    folded = _folded(text)
    found = list(_symbols(folded))
    if len(found) > 1:
        if any(arrow in folded for arrow in _ARROWS):
            found = [each for each in found if not _LEADS_ON.match(folded, each[2])]
        if starts := [match.start() for match in _CHAIN.finditer(folded)]:
            found = _without_chains(found, starts)
    return tuple(dict.fromkeys(code for code, _, _ in found))


def _folded(text: str) -> str:
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).translate(_SLASHES)
    text = text.upper()
    return _EDITION.sub(" ", text) if "CL" in text or "PC" in text else text


def _symbols(folded: str) -> Iterator[tuple[str, int, int]]:
    """Normalised symbols, and where each begins and ends."""
    for match in _SYMBOL.finditer(folded):
        section, class_digits, letter, *numbers = match.groups()
        group, sub = (number for number in numbers if number is not None)
        if class_digits != "00" and int(group) != 0:
            yield f"{section}{class_digits}{letter}{int(group)}/{_subgroup(sub)}", match.start(), match.end()


def _without_chains(found: list[tuple[str, int, int]], starts: list[int]) -> list[tuple[str, int, int]]:
    """Without symbols that the next one of the same chain stands below."""
    kept = []
    for each, following in zip(found, [*found[1:], None], strict=True):
        chain = bisect.bisect(starts, each[1])
        leads_on = (
            following is not None
            and chain
            and bisect.bisect(starts, following[1]) == chain
            and main_group(following[0]) == main_group(each[0])
        )
        if not leads_on:
            kept.append(each)
    return kept


def _subgroup(digits: str) -> str:
    # Digits past the second are a decimal fraction of it (WIPO Guide to the IPC), so trailing zeros are padding:
    # "17/6000" is 17/60. The first two digits always stay ("3/00" is the main group's own symbol).
    head, tail = digits[:2], digits[2:].rstrip("0")
    return head + tail


def normalize_code(text: str) -> str | None:
    """The single full symbol in ``text``, normalised, or None when there is none or more than one."""
    codes = find_codes(text)
    return codes[0] if len(codes) == 1 else None


@lru_cache(maxsize=1 << 16)
def main_group(code: str) -> str:
    """``G06T3/4076`` → ``G06T3``: the part before the slash."""
    return code.partition("/")[0]


def subclass(code: str) -> str:
    """``G06T3/4076`` → ``G06T``."""
    return code[:4]


def domain(code: str) -> str:
    """``G06T3/4076`` → ``G06``: the class, in three characters."""
    return code[:3]


def section(code: str) -> str:
    """``G06T3/4076`` → ``G``."""
    return code[:1]


def is_indexing(code: str) -> bool:
    """True for CPC symbols that only index: section Y and main groups from 1000 up (``H04L2209/80``)."""
    return code.startswith("Y") or int(main_group(code)[4:]) >= _INDEXING_MAIN_GROUP
