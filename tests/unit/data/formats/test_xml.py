import io

from patent_embed.data.formats.base import FORMATS
from patent_embed.data.formats.xml import OTHER_XML
from tests import offices


def test_files_whose_beginning_says_nothing_are_read_by_their_suffix() -> None:
    entities = "".join(f"<!ENTITY D{n}.TIF SYSTEM 'D{n}.TIF' NDATA TIF>\n" for n in range(500))
    content = f"<?xml version='1.0'?>\n<!DOCTYPE x [\n{entities}]>\n" + offices.patdoc(1).partition("]>\n")[2]
    assert not any(form.recognises("a.xml", content.encode()[:4096]) for form in FORMATS)
    assert OTHER_XML.suffixes == (".xml",)
    (record,) = OTHER_XML.read(io.BytesIO(content.encode()), "a.xml")
    assert record.fields["publication_number"] == "US6336001B1"


def test_several_offices_in_one_file() -> None:
    content = offices.grant(1) + offices.docdb_file(offices.docdb(2)) + offices.patdoc(3)
    records = list(OTHER_XML.read(io.BytesIO(content.encode()), "a.xml"))
    assert [record.fields["publication_number"] for record in records] == ["US8000001B2", "CN110000002A", "US6336003B1"]


def test_other_xml_is_one_reject() -> None:
    (record,) = OTHER_XML.read(io.BytesIO(b"<rss><item/></rss>"), "a.xml")
    assert record.reason == "invalid_xml"
