from typing import Any

import pytest

from patent_embed.data.shapes.base import shape_of
from patent_embed.data.shapes.bigquery import BIGQUERY

ROW: dict[str, Any] = {
    "publication_number": "US-10000001-B2",
    "application_number": "US-201514643719-A",
    "country_code": "US",
    "kind_code": "B2",
    "family_id": "55437",
    "title_localized": [{"text": "Test device", "language": "en", "truncated": False}],
    "abstract_localized": [
        {"text": "Un dispositif.", "language": "fr"},
        {"text": "A device for testing.", "language": "en"},
    ],
    "claims_localized": [{"text": "What is claimed is: 1. A device. 2. The device of claim 1.", "language": "en"}],
    "description_localized": [{"text": "About testing.", "language": "en"}],
    "publication_date": 20180619,
    "grant_date": 20180619,
    "ipc": [{"code": "G01S7/48", "inventive": True, "first": True, "tree": []}],
    "cpc": [
        {"code": "G01S7/4863", "inventive": True, "first": True, "tree": ["G01S7/4863", "G01S7/4861", "G01S7/00"]},
        {"code": "G01S7/00", "leaf": False},
    ],
    "fi": [{"code": "G01S7/4863@A"}],
    "citation": [{"publication_number": "US-2004097263-A1", "category": "APP"}, {"npl_text": "A book"}],
    "assignee": ["Delta Company"],
    "assignee_harmonized": [{"name": "DELTA CO", "country_code": "US"}],
}
RIGHT = {
    "publication_number": "US-10000001-B2",
    "title": [{"lang": "en", "text": "Test device"}],
    "abstract": [{"lang": "fr", "text": "Un dispositif."}, {"lang": "en", "text": "A device for testing."}],
    "classifications": ["G01S7/48", "G01S7/4863"],
    "claims": ["1. A device.", "2. The device of claim 1."],
    "description": ["About testing."],
    "citations": ["US-2004097263-A1"],
    "family_id": "55437",
    "publication_date": "20180619",
    "applicants": ["DELTA CO"],
    "application_number": "US-201514643719-A",
}


def nested(value: Any) -> Any:
    """As exports to Avro and then Parquet nest repeated fields."""
    if isinstance(value, list):
        return {"list": [{"element": nested(each)} for each in value]}
    return {name: nested(each) for name, each in value.items()} if isinstance(value, dict) else value


def test_a_row() -> None:
    assert shape_of(ROW) is BIGQUERY
    assert BIGQUERY.record(ROW) == RIGHT


def test_repeated_fields_as_parquet_nests_them() -> None:
    assert BIGQUERY.record(nested(ROW)) == RIGHT


@pytest.mark.parametrize("date", [0, None, "0"])
def test_a_date_that_is_not_there(date: Any) -> None:
    assert "publication_date" not in BIGQUERY.record(ROW | {"publication_date": date})


def test_codes_as_plain_texts() -> None:
    assert BIGQUERY.record(ROW | {"ipc": ["A01B1/00"], "cpc": "A01B1/02"})["classifications"] == [
        "A01B1/00",
        "A01B1/02",
    ]
