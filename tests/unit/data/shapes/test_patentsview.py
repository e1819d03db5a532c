from typing import Any

import pytest

from patent_embed.data.shapes.base import shape_of
from patent_embed.data.shapes.patentsview import PATENTSVIEW

PATENT: dict[str, Any] = {
    "patent_id": "10000001",
    "patent_title": "Test device",
    "patent_abstract": "A device for testing.",
    "patent_date": "2018-06-19",
    "patent_type": "utility",
    "wipo_kind": "B2",
    "assignees": [{"assignee_id": "x", "assignee_organization": "Delta Company"}],
    "cpc_current": [
        {"cpc_sequence": 0, "cpc_class_id": "G01", "cpc_subclass_id": "G01S", "cpc_group_id": "G01S7/4863"},
        {"cpc_group": "https://search.patentsview.org/api/v1/cpc_group/G01S17:89/"},
    ],
    "ipcr": [
        {"ipc_section": "G", "ipc_class": "01", "ipc_subclass": "S", "ipc_main_group": "7", "ipc_subgroup": "48"},
        {"ipc_section": "G", "ipc_class": "01", "ipc_subclass": "S", "ipc_main_group": "", "ipc_subgroup": ""},
    ],
    "us_patent_citations": [{"citation_patent_id": "5000001", "citation_sequence": 0}],
    "us_application_citations": [{"citation_document_number": 20040097263}],
}
RIGHT = {
    "publication_number": "10000001",
    "title": "Test device",
    "abstract": "A device for testing.",
    "classifications": ["G01S7/48", "G01S7/4863", "G01S17/89"],
    "citations": ["5000001", "20040097263"],
    "publication_date": "2018-06-19",
    "applicants": ["Delta Company"],
}


def test_a_patent() -> None:
    assert shape_of(PATENT) is PATENTSVIEW
    assert PATENTSVIEW.record(PATENT) == RIGHT


def test_a_patent_of_the_older_api() -> None:
    patent = {
        "patent_number": "10000001",
        "patent_title": "Test device",
        "patent_abstract": "A device for testing.",
        "patent_date": "2018-06-19",
        "assignees": [{"assignee_organization": "Delta Company"}, {"assignee_organization": None}],
        "cpcs": [{"cpc_group_id": "G01S", "cpc_subgroup_id": "G01S7/4863"}, {"cpc_subgroup_id": "G01S17/89"}],
        "IPCs": [
            {"ipc_section": "G", "ipc_class": "1", "ipc_subclass": "S", "ipc_main_group": "7", "ipc_subgroup": "48"}
        ],
        "cited_patents": [{"cited_patent_number": "5000001"}, {"cited_patent_number": "20040097263"}],
    }
    assert shape_of(patent) is PATENTSVIEW
    assert PATENTSVIEW.record(patent) == RIGHT


def test_an_application() -> None:
    application = {
        "document_number": 20180000001,
        "publication_title": "Device",
        "publication_abstract": "For testing.",
    }
    assert shape_of(application) is PATENTSVIEW
    assert PATENTSVIEW.record(application) == {
        "publication_number": "20180000001",
        "title": "Device",
        "abstract": "For testing.",
    }


@pytest.mark.parametrize(
    "claims", [[{"claim_text": "1. A."}, {"claim_text": "2. B."}], [{"number": "1", "text": "1. A."}, "2. B."]]
)
def test_claims_that_somebody_joined(claims: list[Any]) -> None:
    assert PATENTSVIEW.record(PATENT | {"claims": claims})["claims"] == ["1. A.", "2. B."]


def test_codes_as_texts_and_cut_codes() -> None:
    codes = PATENTSVIEW.record(PATENT | {"cpc_current": ["H04W1/00", {"cpc_group_id": "G06N"}], "ipcr": None})
    assert codes["classifications"] == ["H04W1/00", "G06N"]


def test_a_number_that_pandas_made_a_float() -> None:
    assert PATENTSVIEW.record(PATENT | {"patent_id": 10000001.0})["publication_number"] == "10000001"
