import io
from typing import Any

import pytest

from patent_embed.data.formats.docdb_xml import DOCDB_XML
from tests import offices


def read(content: str) -> list[dict[str, Any]]:
    return [record.fields for record in DOCDB_XML.read(io.BytesIO(content.encode()), "a.xml")]


def test_bulk_data() -> None:
    (fields,) = read(offices.docdb_file(offices.docdb(1)))
    assert fields == {
        "publication_number": "CN110000001A",
        "title": [{"lang": "en", "text": "Test device 1"}, {"lang": "zh", "text": "测试装置1"}],
        "abstract": [{"lang": "en", "text": offices.PLAIN.format(n=1)}],
        "classifications": ["G06T3/40", "H04N5/232", "G06T3/4053"],  # neither FI nor F-terms
        "citations": [{"publication_number": "US2004097263A1", "category": "X"}],
        "family_id": "501",
        "publication_date": "20190716",
        "applicants": ["ALPHA TECH CO LTD"],
    }


def test_answers_of_open_patent_services() -> None:
    (fields,) = read(offices.ops_file(offices.ops_document(1)))
    assert fields == {
        "publication_number": "EP3000001A1",
        "title": [{"lang": "fr", "text": "Dispositif de test"}, {"lang": "en", "text": "TEST DEVICE 1"}],
        "abstract": [{"lang": "en", "text": offices.PLAIN.format(n=1)}],
        "classifications": ["H04W84/20", "H04W88/04"],
        "citations": ["WO02054790A2"],
        "family_id": "701",
        "publication_date": "20160323",
        "applicants": ["GAMMA OY"],
    }


def test_abstracts_in_several_languages_and_of_several_sources() -> None:
    more = (
        '<exch:abstract lang="zh" abstract-source="national office"><exch:p>第一段。</exch:p><exch:p>第二段。</exch:p>'
        '</exch:abstract><exch:abstract lang="ja" abstract-source="translation"><exch:p>訳。</exch:p></exch:abstract>'
        '<exch:abstract lang="ja" abstract-source="national office"><exch:p>原文。</exch:p></exch:abstract>'
    )
    (fields,) = read(offices.docdb_file(offices.docdb(1, extra=more)))
    assert {each["lang"]: each["text"] for each in fields["abstract"]} == {
        "en": offices.PLAIN.format(n=1),
        "zh": "第一段。 第二段。",
        "ja": "原文。",
    }


def test_full_texts() -> None:
    content = """<ops:world-patent-data xmlns="http://www.epo.org/exchange" xmlns:ops="http://ops.epo.org">
<ftxt:fulltext-documents xmlns="http://www.epo.org/fulltext" xmlns:ftxt="http://www.epo.org/fulltext">
<ftxt:fulltext-document system="ops.epo.org" fulltext-format="text-only"><bibliographic-data>
<publication-reference data-format="docdb"><document-id><country>EP</country><doc-number>2400001</doc-number>
<kind>A1</kind></document-id></publication-reference></bibliographic-data>
<claims lang="DE"><claim><claim-text>1. Gerät.</claim-text></claim></claims>
<claims lang="EN"><claim><claim-text>1. A device.</claim-text><claim-text>2. The device
of claim 1.</claim-text></claim></claims>
<description lang="EN"><p>[0001] About testing.</p><p>[0002] More.</p></description>
</ftxt:fulltext-document></ftxt:fulltext-documents></ops:world-patent-data>"""
    (fields,) = read(content)
    assert fields == {
        "publication_number": "EP2400001A1",
        "claims": ["1. A device.", "2. The device of claim 1."],
        "description": ["[0001] About testing.", "[0002] More."],
    }


@pytest.mark.parametrize(
    ("document", "number"),
    [
        ('<exchange-document country="CN" doc-number="1" kind="A"/>', "CN1A"),
        ('<exchange-document status="D"/>', None),
        (
            "<exchange-document><bibliographic-data><publication-reference><document-id document-id-type='epodoc'>"
            "<doc-number>EP2400812</doc-number></document-id></publication-reference></bibliographic-data>"
            "</exchange-document>",
            "EP2400812",
        ),
        (
            "<exchange-document><bibliographic-data><publication-reference data-format='epodoc'><document-id>"
            "<doc-number>EP2</doc-number></document-id></publication-reference>"
            "<publication-reference data-format='docdb'>"
            "<document-id><country>EP</country><doc-number>2</doc-number><kind>B1</kind></document-id>"
            "</publication-reference></bibliographic-data></exchange-document>",
            "EP2B1",
        ),
    ],
)
def test_numbers(document: str, number: str | None) -> None:
    (fields,) = read(offices.ops_file(document))
    assert fields.get("publication_number") == number


@pytest.mark.parametrize(
    ("codes", "right"),
    [
        ("<classification-ipc><text>C07D205/04</text><text>A61K31/397</text></classification-ipc>", 2),
        ("<classification-ipc><main-classification>A61B005/00</main-classification></classification-ipc>", 1),
        ("<patent-classifications/>", 0),
        (
            "<patent-classifications><patent-classification><classification-symbol>A01B   1/00</classification-symbol>"
            "</patent-classification></patent-classifications>",
            1,
        ),
        ("<classification-national><text>H04N5/00</text></classification-national>", 0),
    ],
)
def test_other_layouts_of_codes(codes: str, right: int) -> None:
    document = f"<exchange-document><bibliographic-data>{codes}</bibliographic-data></exchange-document>"
    (fields,) = read(offices.ops_file(document))
    assert len(fields.get("classifications", [])) == right
