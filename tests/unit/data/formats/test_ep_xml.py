import io
from typing import Any

import pytest

from patent_embed.data.formats.ep_xml import EP_XML
from tests import offices


def read(content: str) -> dict[str, Any]:
    (record,) = EP_XML.read(io.BytesIO(content.encode()), "a.xml")
    return record.fields  # type: ignore[no-any-return]


def test_an_application() -> None:
    assert read(offices.ep(1)) == {
        "publication_number": "EP3000001A1",
        "title": [{"lang": "de", "text": "Testgerät 1"}, {"lang": "en", "text": "TEST DEVICE 1"}],
        "abstract": [{"lang": "en", "text": offices.PLAIN.format(n=1)}],
        "classifications": ["H04W84/20", "H04W88/04"],
        "claims": ["A device, comprising: a housing.", "The device of claim 1."],
        "description": ["Field", "About testing."],
        "citations": ["WO02054790A2"],
        "publication_date": "20160323",
        "applicants": ["Gamma Oy"],
    }


def test_a_patent_names_its_proprietor() -> None:
    granted = offices.ep(1).replace("B710", "B730").replace("B711", "B731")
    assert read(granted)["applicants"] == ["Gamma Oy"]


@pytest.mark.parametrize(
    ("citation", "right"),
    [("EP-A1- 1 234 567", ["EP1234567A1"]), ("JP-U-H01 12345", None), ("A BOOK", None)],
)
def test_citations(citation: str, right: list[str] | None) -> None:
    assert read(offices.ep(1).replace("WO-A2-02/054790", citation)).get("citations") == right
