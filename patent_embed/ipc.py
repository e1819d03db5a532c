"""IPC and CPC symbols: text in any common spelling to a normal form, and the hierarchy above it.

A full symbol names a subgroup: ``G06T3/4076`` = section G, class G06, subclass G06T, main group G06T3
(the part before the slash, one to four digits), subgroup 4076. The layout follows WIPO's Guide to the IPC
and, for the indexing ("2000") series and section Y, the CPC scheme's definitions.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

# Boundaries keep an application number or a Locarno class ("21-01-C0293") from looking like a symbol.
_SYMBOL = re.compile(r"(?<![A-Z0-9])([A-HY])\s?(\d{2})\s?([A-Z])\s*(\d{1,4})\s*/\s*(\d{2,6})(?!\d)")
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

    Reads blanks (``G06T 3/4076``), version and value marks (``G06T3/40(2006.01)I``), full-width characters,
    zero padding (``G06F017/60``), any separator between symbols, and hierarchical paths
    (``B → B25 → B25B → B25B21/00``). Symbols cut above the subgroup are not returned.
    """
    folded = text if text.isascii() else unicodedata.normalize("NFKC", text).replace("∕", "/")
    codes: dict[str, None] = {}
    for section, class_digits, subclass_letter, group, sub in _SYMBOL.findall(folded.upper()):
        if class_digits == "00" or int(group) == 0:
            continue
        codes[f"{section}{class_digits}{subclass_letter}{int(group)}/{_subgroup(sub)}"] = None
    return list(codes)


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


def section(code: str) -> str:
    """``G06T3/4076`` → ``G``."""
    return code[:1]


def is_indexing(code: str) -> bool:
    """True for CPC symbols that only index: section Y and main groups from 1000 up (``H04L2209/80``)."""
    return code.startswith("Y") or int(main_group(code)[4:]) >= _INDEXING_MAIN_GROUP
