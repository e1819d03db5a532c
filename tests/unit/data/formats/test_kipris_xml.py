import io

import pytest

from patent_embed.data.formats.kipris_xml import KIPRIS_XML
from tests import offices


def test_details() -> None:
    (record,) = KIPRIS_XML.read(io.BytesIO(offices.kipris_file(offices.kipris_item(1)).encode()), "a.xml")
    assert record.fields == {
        "publication_number": "KR100866001B1",
        "title": "시험 장치 1",
        "abstract": "시험 장치 1에 관한 것으로, 하우징과 축을 포함한다.",
        "classifications": ["C12N 5/00", "C12N 5/071"],
        "claims": ["하우징을 포함하는 장치.", "제1항에 있어서, 모터를 포함하는 장치."],
        "citations": ["KR1020030011111A"],
        "publication_date": "2008.10.30",
        "applicants": ["델타 주식회사"],
        "application_number": "10-2004-7015001",
    }


def test_rows_of_a_search() -> None:
    row = (
        "<item><inventionTitle>장치</inventionTitle><ipcNumber>G06T 3/40|H04N 5/232</ipcNumber>"
        "<openNumber>1020190011111</openNumber><openDate>20190131</openDate><registerNumber/>"
        "<astrtCont>시험 장치에 관한 것이다.</astrtCont></item>"
    )
    content = offices.kipris_file(f"<items>{row}{row}</items>").encode()
    first, _ = KIPRIS_XML.read(io.BytesIO(content), "a.xml")
    assert KIPRIS_XML.recognises("a.xml", content)
    assert first.fields == {
        "publication_number": "KR20190011111A",
        "title": "장치",
        "abstract": "시험 장치에 관한 것이다.",
        "classifications": ["G06T 3/40|H04N 5/232"],
        "publication_date": "20190131",
    }


@pytest.mark.parametrize("content", [b"<rss><item><title>x</title></item></rss>", b"<response><item/></response>"])
def test_items_of_others_are_not_recognised(content: bytes) -> None:
    assert not KIPRIS_XML.recognises("a.xml", content)
