import json
from pathlib import Path
from typing import Any

import pytest

from patent_embed.data.shapes.base import shape_of
from patent_embed.data.shapes.kipris import KIPRIS

DETAILS: dict[str, Any] = {
    "biblioSummaryInfoArray": {
        "biblioSummaryInfo": {
            "applicationNumber": "10-2004-7015001",
            "inventionTitle": "시험 장치",
            "inventionTitleEng": "Test device",
            "openDate": "2005.01.31",
            "openNumber": "10-2005-0012001",
            "publicationDate": "2008.10.30",
            "publicationNumber": "",
            "registerDate": "2008.10.24",
            "registerNumber": "10-0866001-0000",
        }
    },
    "ipcInfoArray": {"ipcInfo": [{"ipcDate": "(2006.01.01)", "ipcNumber": "C12N 5/00"}]},
    "abstractInfoArray": {"abstractInfo": {"astrtCont": "시험 장치에 관한 것이다."}},
    "claimInfoArray": {"claimInfo": [{"claim": "하우징을 포함하는 장치."}]},
    "priorArtDocumentsInfoArray": {"priorArtDocumentsInfo": {"documentsNumber": "KR1020030011111 A"}},
    "applicantInfoArray": {"applicantInfo": {"name": "델타 주식회사"}},
    "agentInfoArray": None,
}


def test_details() -> None:
    assert shape_of(DETAILS) is KIPRIS
    assert KIPRIS.inner(DETAILS) is None
    assert KIPRIS.record(DETAILS) == {
        "publication_number": "KR100866001B1",
        "title": "시험 장치",
        "abstract": "시험 장치에 관한 것이다.",
        "classifications": ["C12N 5/00"],
        "claims": ["하우징을 포함하는 장치."],
        "citations": ["KR1020030011111A"],
        "publication_date": "2008.10.30",
        "applicants": ["델타 주식회사"],
        "application_number": "10-2004-7015001",
    }


@pytest.mark.parametrize(
    ("changes", "number", "date"),
    [
        ({"registerNumber": ""}, "KR20050012001A", "2005.01.31"),
        ({"registerNumber": "", "openNumber": "20-2005-0012001"}, "KR20050012001U", "2005.01.31"),
        ({"registerNumber": "200866001"}, "KR200866001Y1", "2008.10.30"),
        ({"publicationDate": ""}, "KR100866001B1", "2008.10.24"),
        ({"registerNumber": "", "openNumber": "", "publicationNumber": "10-1995-0001"}, "10-1995-0001", "2008.10.30"),
        ({"registerNumber": "", "openNumber": ""}, None, "2008.10.30"),
    ],
)
def test_numbers(changes: dict[str, str], number: str | None, date: str) -> None:
    summary = DETAILS["biblioSummaryInfoArray"]["biblioSummaryInfo"] | changes
    fields = KIPRIS.record(DETAILS | {"biblioSummaryInfoArray": {"biblioSummaryInfo": summary}})
    assert (fields.get("publication_number"), fields["publication_date"]) == (number, date)


def test_rows_of_both_searches() -> None:
    row = {
        "inventionTitle": "장치",
        "ipcNumber": "G06T 3/40|H04N 5/232",
        "openNumber": "1020190011111",
        "astrtCont": "시험.",
    }
    other = {
        "InventionName": "장치",
        "InternationalpatentclassificationNumber": "G06T 3/40|H04N 5/232",
        "ApplicationNumber": "1020180000001",
        "OpeningNumber": "1020190011111",
        "Abstract": "시험.",
    }
    right = {"publication_number": "KR20190011111A", "title": "장치", "abstract": "시험."}
    for each in (row, other):
        assert shape_of(each) is KIPRIS
        fields = KIPRIS.record(each)
        assert fields["classifications"] == ["G06T 3/40|H04N 5/232"]
        assert right.items() <= fields.items()


def test_an_answer_holds_items() -> None:
    answer = {"header": {"successYN": "Y"}, "body": {"items": {"item": [DETAILS, DETAILS]}}}
    assert shape_of(answer) is KIPRIS
    inside = KIPRIS.inner(answer)
    assert inside is not None
    assert [(place, value is DETAILS) for place, value in inside] == [
        (".body[0].items[0].item[0]", True),
        (".body[0].items[0].item[1]", True),
    ]
    single = KIPRIS.inner({"header": {}, "body": {"item": DETAILS}})
    assert single is not None
    assert [value for _, value in single] == [DETAILS]


def test_a_real_record(shared_data: Path) -> None:
    record = json.loads((shared_data / "messy" / "17_kipris_list_of_codes.json").read_text(encoding="utf-8"))
    assert shape_of(record) is KIPRIS
    fields = KIPRIS.record(record)
    assert fields["publication_number"] == "KR100866101B1"
    assert fields["title"] == "혼합-세포 유전자 요법"
    assert fields["classifications"] == ["C12N 5/00", "A61K 31/70", "C12N 5/10", "C12N 5/071"]
