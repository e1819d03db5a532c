"""The Harvard USPTO Patent Dataset: one JSON object a US application of 2004 to 2018.

Codes stand there without the slash (``G06F1730``), so where the main group ends is not written. They are read by this
rule, and by no other one: three digits are one and two (``G06F 3/00``); of the IPC's labels, four digits are two and
two unless the second is 0 (``G06F 17/30``). Counted on 23,000 IPC codes of real patents this is right for all codes of
three digits and for 97 of 100 of four. Other labels (``G06F3041`` may be 3/041 or 30/41) name no full code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from typing import Any, ClassVar

from patent_embed.data.layouts import filled, found, numbered_claims, text, texts
from patent_embed.data.shapes.base import Shape

_LABEL = re.compile(r"([A-HY]\d\d[A-Z])\s*(\d+)")
_NUMBER_WITH_DATE = re.compile(r"(US\d+[A-Z]\d?)-\d{8}")
_LABELS = ("main_ipcr_label", "ipcr_labels", "main_cpc_label", "cpc_labels")


class Hupd(Shape):
    """An application of the dataset."""

    name: ClassVar[str] = "hupd"
    order: ClassVar[int] = 12

    def recognises(self, names: Set[str]) -> bool:
        """By the names of its codes."""
        return not names.isdisjoint(_LABELS) and "abstract" in names

    def record(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of an application."""
        number = text(fields, "publication_number")
        with_date = _NUMBER_WITH_DATE.fullmatch(number)
        description = text(fields, "full_description")
        return filled(
            {
                "publication_number": with_date[1] if with_date else number or text(fields, "patent_number"),
                "title": text(fields, "title"),
                "abstract": text(fields, "abstract"),
                "classifications": [
                    *_codes(texts(found(fields, "main_ipcr_label") + found(fields, "ipcr_labels")), ipc=True),
                    *_codes(texts(found(fields, "main_cpc_label") + found(fields, "cpc_labels")), ipc=False),
                ],
                "claims": [claim for whole in texts(found(fields, "claims")) for claim in numbered_claims(whole)],
                "description": [description] if description else texts(map(fields.get, ("background", "summary"))),
                "publication_date": text(fields, "date_published"),
                "application_number": text(fields, "application_number"),
            }
        )


def _codes(labels: Iterable[str], ipc: bool) -> list[str]:
    return [with_slash(label, ipc) for label in labels]


def with_slash(label: str, ipc: bool) -> str:
    """``G06F1730`` → ``G06F17/30``, by the rule above; what it does not read stays as it is."""
    read = _LABEL.fullmatch(label.upper())
    if read is None:
        return label
    symbol, digits = read.groups()
    if len(digits) == 3:
        return f"{symbol}{digits[0]}/{digits[1:]}"
    if ipc and len(digits) == 4 and digits[1] != "0":
        return f"{symbol}{digits[:2]}/{digits[2:]}"
    return label


HUPD = Hupd()
