"""Symbols in any layout, without ancestors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from patent_embed.data.classifications import classification_text, split_symbol
from patent_embed.ipc import leaf_codes
from tests.unit.data.test_values import JSON

G, H = "G06T3/40", "H04N5/232"


@pytest.mark.parametrize(
    ("value", "codes"),
    [
        (G, [G]),
        ([G, H], [G, H]),
        ([[G], [H]], [G, H]),
        (f"{G};{H}", [G, H]),
        (json.dumps([G, H]), [G, H]),
        (str([G, H]), [G, H]),
        (f"['{G}' '{H}']", [G, H]),  # numpy's
        (json.dumps([{"code": G}, {"code": H}]), [G, H]),
        (str([{"code": "G06T3/00", "leaf": False}, {"code": G, "leaf": True}]), [G]),
        ([b"G06T3/40"], [G]),
        ({"ipc": "G06T", "cpc": G}, [G]),
        ({"IPC": [G], "CPC": [H]}, [G, H]),
        ({"IPC": {"main": G, "further": [H]}}, [G, H]),
        ([{"Code": G}, {"Symbol": H}], [G, H]),
        ([{"classificationSymbol": "G06T 3/40"}], [G]),
        ([{"ipc_class_symbol": "G06T   3/40"}], [G]),
        ([{"$": G}, {"#text": H}], [G, H]),
        ([{"CPC Symbol": G, "description": "like A01B1/00"}], [G]),
        ({G: "Scaling", H: "Cameras"}, [G, H]),
        ([{"code": G, "description": "not A01B1/00"}], [G]),
        ([{"code": "G06T3/00", "is_leaf": "false"}, {"code": G, "is_leaf": "true"}], [G]),
        ([{"code": "G06T3/00", "isLeaf": 0}, {"code": G, "isLeaf": 1}], [G]),
        ([{"code": G, "tree": ["G06T3/00", "G06T"], "parents": [{"code": "G06T3/00"}]}], [G]),
        ([{"code": f"G → G06 → G06T → G06T3/00 → {G}"}, {"code": f"H → H04 → H04N5/00 → {H}"}], [G, H]),
        (f"G → G06T3/00 → {G}; H → H04N5/00 → {H}", [G, H]),
        (["G", "G06", "G06T", "G06T3/00", G], [G]),
        ([{"section": "G", "class": "06", "subclass": "T", "main_group": "3", "subgroup": "40"}], [G]),
        ([{"section": "G", "class": 6, "subclass": "T", "main-group": 3.0, "subgroup": 40}], [G]),
        (
            [
                {
                    "ipcSection": {"$": "G"},
                    "ipcClass": "06",
                    "ipcSubclass": "T",
                    "ipcMainGroup": "3",
                    "ipcSubgroup": "40",
                }
            ],
            [G],
        ),
        ([{"section_id": "G", "class_id": "G06", "subclass_id": "G06T", "group_id": "G06T3/40"}], [G]),
        ([{"subclass": "G06T", "group": "3/40"}], [G]),
        ([{"sectionSymbol": "G", "classNumber": 6, "subclass_code": "T", "mainGroup": "3", "subGroup": "40"}], [G]),
        ([{"cpc_section": "G", "cpc_class": "G06", "cpc_subclass": "G06T", "cpc_group": "G06T3/40"}], [G]),
        ("H01M", []),
        (["21-01-C0293"], []),
        (12, []),
        (None, []),
        ([None, {}, [], "", {"code": None}], []),
    ],
)
def test_layouts(value: object, codes: list[str]) -> None:
    assert list(leaf_codes(classification_text(value))) == codes


def test_a_number_that_lost_its_zero() -> None:
    assert split_symbol({"section": "G", "class": 6, "subclass": "T", "main_group": 3, "subgroup": 0}) == "G06T3/00"
    assert split_symbol({"section": "G", "class": "06", "subclass": "T", "main_group": "3"}) == ""


@given(JSON)
def test_any_value(value: object) -> None:
    leaf_codes(classification_text(value))
