import io
from pathlib import Path
from typing import Any

from patent_embed.data.formats.uspto_xml import USPTO_XML
from tests import offices


def read(content: str) -> list[dict[str, Any]]:
    return [record.fields for record in USPTO_XML.read(io.BytesIO(content.encode()), "a.xml")]


def test_a_grant_of_today() -> None:
    (fields,) = read(offices.grant(1))
    assert fields == {
        "publication_number": "US8000001B2",
        "title": "Test device 1 with a motor",
        "abstract": [{"lang": "", "text": offices.PLAIN.format(n=1)}],
        "classifications": ["G06F15/16", "H04L67/146", "H04L65/1006"],  # neither citations' nor the search's
        "claims": [
            "1. A device, comprising: (a) a housing; and (b) a shaft.",
            "2. The device of claim 1, wherein it runs.",
        ],
        "description": ["FIELD OF THE INVENTION", "The invention is about testing."],
        "citations": ["US7844851B2", "US20070140112A1"],
        "publication_date": "20150106",
        "applicants": ["Delta & Sons Corporation"],
    }


def test_an_application_of_2005() -> None:
    (fields,) = read(offices.application(1))
    assert fields == {
        "publication_number": "US20050004001A1",
        "title": "Test device 1",
        "abstract": [{"lang": "", "text": offices.PLAIN.format(n=1)}],
        "classifications": ["A61B005/00", "G06F017/60"],
        "claims": ["1. A device."],
        "publication_date": "20050106",
        "applicants": ["Jane Doe"],
    }


def test_a_grant_of_2002() -> None:
    (fields,) = read(offices.patdoc(1))
    assert fields == {
        "publication_number": "US6336001B1",
        "title": "Test device 1",
        "abstract": "A device number 1 of H2O, α [1] “x”.",
        "classifications": ["G06F15/16", "G06F3/00"],
        "claims": ["1. A device, comprising: a housing.", "2. The device of claim 1 , which runs."],
        "description": ["FIELD", "About testing."],
        "citations": ["US5825759A", "WO9625012"],
        "publication_date": "20020101",
        "applicants": ["Delta & Sons"],
    }


def test_an_application_of_2001() -> None:
    (fields,) = read(offices.application_2001(1))
    assert fields == {
        "publication_number": "US20010001001A1",
        "title": "Test device 1",
        "abstract": offices.PLAIN.format(n=1),
        "classifications": ["G06F017/60", "H04L009/00"],
        "claims": ["1. A device comprising: a housing.", "2. The device of claim 1."],
        "description": ["Background", "About testing."],
        "publication_date": "20010315",
        "applicants": ["DELTA CORP."],
    }


def test_designs_have_locarno_classes_and_no_abstract() -> None:
    design = offices.patdoc(1).replace("G06F 1516", "1402").replace(">0633", ">D0633")
    (fields,) = read(design)
    assert fields["classifications"] == ["1402", "G06F3/00"]
    assert fields["publication_number"].startswith("USD")


def test_documents_of_several_years_in_one_file() -> None:
    kinds = (offices.grant, offices.application, offices.patdoc, offices.application_2001)
    found = read("".join(kind(2) for kind in kinds))
    assert found == [read(kind(2))[0] for kind in kinds]


def test_a_real_grant_that_is_cut_is_one_reject(shared_data: Path) -> None:
    with (shared_data / "messy" / "24_uspto_xml_2014.xml").open("rb") as file:
        assert USPTO_XML.recognises("24_uspto_xml_2014.xml", file.read(4096))
        file.seek(0)
        (record,) = USPTO_XML.read(file, "a.xml")
    assert (record.reason, record.detail) == ("invalid_xml", "the file ends before </us-patent-grant>")
