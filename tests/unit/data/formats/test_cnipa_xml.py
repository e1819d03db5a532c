import io
from typing import Any

from patent_embed.data.formats.cnipa_xml import CNIPA_XML
from tests import offices


def read(content: str) -> list[dict[str, Any]]:
    return [record.fields for record in CNIPA_XML.read(io.BytesIO(content.encode()), "a.xml")]


def test_a_publication() -> None:
    (fields,) = read(offices.cnipa(1))
    assert fields == {
        "publication_number": "CN110000001A",
        "title": [{"lang": "zh", "text": "测试装置1"}],
        "abstract": [{"lang": "zh", "text": "一种编号为1的测试装置，包括H2O 传感器。"}],
        "classifications": ["G06T3/40", "H04N 5/232 (2006.01)"],
        "claims": ["1. 一种测试装置，包括： 壳体。", "2. 根据权利要求1所述的装置。"],
        "description": ["技术领域", "涉及测试。"],
        "citations": ["CN203232659U"],
        "publication_date": "20190716",
        "applicants": ["阿尔法科技有限公司"],
    }


def test_a_design_has_a_title_of_its_own_name_and_no_codes() -> None:
    design = """<business:PatentDocumentAndRelated xmlns:base="b" xmlns:business="c" lang="zh">
<business:DesignBibliographicData><business:PublicationReference><base:DocumentID><base:WIPOST3Code>CN</base:WIPOST3Code>
<base:DocNumber>305000001</base:DocNumber><base:Kind>S</base:Kind><base:Date>20190101</base:Date></base:DocumentID>
</business:PublicationReference><business:ClassificationLocarno><base:MainClassification>21-01</base:MainClassification>
</business:ClassificationLocarno><business:DesignTitle>花瓶</business:DesignTitle></business:DesignBibliographicData>
</business:PatentDocumentAndRelated>"""
    assert read(design) == [
        {"publication_number": "CN305000001S", "title": [{"lang": "", "text": "花瓶"}], "publication_date": "20190101"}
    ]
