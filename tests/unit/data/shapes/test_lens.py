import json
from pathlib import Path
from typing import Any

import pytest

from patent_embed.data.shapes.base import shape_of
from patent_embed.data.shapes.lens import LENS

BIBLIO: dict[str, Any] = {
    "publication_reference": {"jurisdiction": "EP", "doc_number": "0227762", "kind": "B1", "date": "1990-04-11"},
    "invention_title": [{"text": "Appareil", "lang": "fr"}, {"text": "Test device", "lang": "en"}],
    "classifications_ipcr": {"classifications": [{"symbol": "H01R11/01", "classification_value": "I"}]},
    "classifications_cpc": {"classifications": [{"symbol": "H01R13/115"}, {"symbol": "H01R2201/26"}]},
    "classifications_national": {"classifications": [{"symbol": "439/535"}]},
    "references_cited": {
        "citations": [
            {"sequence": 1, "patcit": {"document_id": {"jurisdiction": "US", "doc_number": "4000001", "kind": "A"}}},
            {"sequence": 2, "nplcit": {"text": "A book"}},
        ]
    },
    "parties": {"applicants": [{"residence": "DE", "extracted_name": {"value": "DELTA GMBH"}}]},
}
RECORD: dict[str, Any] = {
    "lens_id": "186-488-232-022-055",
    "jurisdiction": "EP",
    "doc_number": "0227762",
    "kind": "B1",
    "date_published": "1990-04-11",
    "biblio": BIBLIO,
    "families": {
        "simple_family": {
            "members": [
                {
                    "document_id": {"jurisdiction": "DE", "doc_number": "1", "kind": "A"},
                    "lens_id": "002-000-000-000-000",
                },
                {"document_id": {"jurisdiction": "EP", "doc_number": "0227762"}, "lens_id": "186-488-232-022-055"},
            ],
            "size": 2,
        }
    },
    "abstract": [{"text": "A device for testing.", "lang": "en"}],
    "claims": [
        {"claims": [{"claim_text": ["1. A device,", "with a shaft."]}, {"claim_text": ["2. More."]}], "lang": "en"}
    ],
    "description": {"text": "About testing.", "lang": "en"},
}
RIGHT = {
    "publication_number": "EP0227762B1",
    "title": [{"lang": "fr", "text": "Appareil"}, {"lang": "en", "text": "Test device"}],
    "abstract": [{"lang": "en", "text": "A device for testing."}],
    "classifications": ["H01R11/01", "H01R13/115", "H01R2201/26"],
    "claims": ["1. A device, with a shaft.", "2. More."],
    "description": ["About testing."],
    "citations": ["US4000001A"],
    "family_id": "lens:002-000-000-000-000",
    "publication_date": "1990-04-11",
    "applicants": ["DELTA GMBH"],
}


def test_a_record() -> None:
    assert shape_of(RECORD) is LENS
    assert LENS.record(RECORD) == RIGHT


def test_the_bibliographic_part_in_the_record_itself() -> None:
    flat = {name: value for name, value in RECORD.items() if name != "biblio"} | BIBLIO
    assert shape_of(flat) is LENS
    assert LENS.record(flat) == RIGHT


def test_a_number_that_stands_in_the_bibliographic_part_alone() -> None:
    assert LENS.record({"lens_id": "1", "biblio": BIBLIO})["publication_number"] == "EP0227762B1"


@pytest.mark.parametrize(
    ("claims", "right"),
    [
        ([{"claims": [{"claim_text": ["1. A. 2. B."]}], "lang": "en"}], ["1. A.", "2. B."]),
        (
            [{"claims": [{"claim_text": "1. A."}], "lang": "de"}, {"claims": [{"claim_text": "1. B."}], "lang": "EN"}],
            ["1. B."],
        ),
        (["1. A.", "2. B."], ["1. A.", "2. B."]),
        ([], None),
        (None, None),
    ],
)
def test_claims(claims: Any, right: list[str] | None) -> None:
    assert LENS.record(RECORD | {"claims": claims}).get("claims") == right


def test_a_real_record(shared_data: Path) -> None:
    record = json.loads((shared_data / "messy" / "27_lens_json.json").read_text(encoding="utf-8"))
    assert shape_of(record) is LENS
    fields = LENS.record(record)
    assert fields["publication_number"] == "US8372101B2"
    assert fields["title"][0]["text"] == "Cordless hand-held ultrasonic cautery cutting device"
    assert {"A61B17/32", "B06B3/00", "A61B17/320092"} <= set(fields["classifications"])
