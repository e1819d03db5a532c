from typing import Any

import pytest

from patent_embed.data.shapes.base import shape_of
from patent_embed.data.shapes.hupd import HUPD, with_slash

APPLICATION: dict[str, Any] = {
    "application_number": "14104993",
    "publication_number": "US20140101323A1-20140410",
    "title": "Test device",
    "decision": "PENDING",
    "date_produced": "20140326",
    "date_published": "20140410",
    "main_cpc_label": "H04L6310",
    "cpc_labels": ["H04L6310", "G06F300"],
    "main_ipcr_label": "G06F1730",
    "ipcr_labels": ["G06F1730", "H04L2906"],
    "patent_number": "None",
    "uspc_class": "709",
    "inventor_list": [{"inventor_name_last": "Doe"}],
    "abstract": "A device for testing.",
    "claims": "1. A device. 2. The device of claim 1.",
    "background": "Background.",
    "summary": "Summary.",
    "full_description": "All of it.",
}


def test_an_application() -> None:
    assert shape_of(APPLICATION) is HUPD
    assert HUPD.record(APPLICATION) == {
        "publication_number": "US20140101323A1",
        "title": "Test device",
        "abstract": "A device for testing.",
        "classifications": ["G06F17/30", "H04L29/06", "H04L6310", "G06F3/00"],
        "claims": ["1. A device.", "2. The device of claim 1."],
        "description": ["All of it."],
        "publication_date": "20140410",
        "application_number": "14104993",
    }


@pytest.mark.parametrize(
    ("label", "ipc", "right"),
    [
        ("G06F300", True, "G06F3/00"),
        ("G06F300", False, "G06F3/00"),
        ("G06F1730", True, "G06F17/30"),
        ("G06F1730", False, "G06F1730"),  # of the CPC, 1/730 is as likely
        ("G06F3041", True, "G06F3041"),  # 3/041 or 30/41
        ("A61K314196", True, "A61K314196"),
        ("G06F17/30", True, "G06F17/30"),
        ("G06F", True, "G06F"),
        ("", True, ""),
    ],
)
def test_where_the_slash_is(label: str, ipc: bool, right: str) -> None:
    assert with_slash(label, ipc) == right


@pytest.mark.parametrize(
    ("changes", "number"),
    [
        ({"publication_number": "US20140101323A1"}, "US20140101323A1"),
        ({"publication_number": None, "patent_number": "8930553"}, "8930553"),
        ({"publication_number": None}, None),
    ],
)
def test_numbers(changes: dict[str, Any], number: str | None) -> None:
    assert HUPD.record(APPLICATION | changes).get("publication_number") == number


def test_without_a_full_description_its_parts_are_kept() -> None:
    assert HUPD.record(APPLICATION | {"full_description": ""})["description"] == ["Background.", "Summary."]
