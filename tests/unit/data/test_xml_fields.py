import pytest

from patent_embed.data import xml_fields
from patent_embed.data.xml_fields import claims, distinct, filled, localized, paragraphs, preferred, symbol
from patent_embed.data.xml_tree import children, parse, text


@pytest.mark.parametrize(
    ("country", "number", "kind", "right"),
    [
        ("US", "08930553", "B2", "US8930553B2"),
        ("US", "10000000", "B2", "US10000000B2"),
        ("US", "2007/0140112", "A1", "US20070140112A1"),
        ("us", " 7,844,851 ", " b2 ", "US7844851B2"),
        ("US", "D0435854", "S", "USD435854S"),
        ("US", "D. 271298", "", "USD271298"),
        ("US", "RE038123", "E", "USRE38123E"),
        ("EP", "0347381", "A1", "EP0347381A1"),
        ("WO", "WO 2004/091286", "A2", "WO2004091286A2"),
        ("", "EP1000000", "", "EP1000000"),
        ("US", "", "B2", ""),
        ("US", "/-", "B2", ""),
        ("US", "0", "", ""),
    ],
)
def test_publication_number(country: str, number: str, kind: str, right: str) -> None:
    assert xml_fields.publication_number(country, number, kind) == right


PARTS = "<section>G</section><class>06</class><subclass>T</subclass><main-group>3</main-group><subgroup>40</subgroup>"


@pytest.mark.parametrize(
    ("inside", "right"),
    [
        (PARTS, "G06T3/40"),
        ("<text>G06T   3/40        20060101AFI20190716BMCN        </text>", "G06T3/40"),
        ("<text>H04W  84/    20            A I                    </text>", "H04W84/20"),
        ("<classification-symbol>A61K  31/4196      </classification-symbol>", "A61K31/4196"),
        ("<text>21-01</text>", "21-01"),
        (PARTS.replace("<subgroup>40</subgroup>", ""), ""),
        ("", ""),
    ],
)
def test_symbol(inside: str, right: str) -> None:
    assert symbol(parse(f"<c>{inside}</c>")) == right


def test_texts_by_language() -> None:
    titles = children(parse("<a><t lang='EN'>x</t><t lang='en'>y</t><t>z</t><t lang='zh'/></a>"), "t")
    assert localized(titles) == [{"lang": "en", "text": "x"}, {"lang": "", "text": "z"}]


@pytest.mark.parametrize(
    ("languages", "right"),
    [(["fr", "en", "zh-Hans"], "zh-Hans"), (["fr", "EN"], "EN"), (["fr", "de"], "fr"), ([], "")],
)
def test_preferred(languages: list[str], right: str) -> None:
    tree = parse("<a>" + "".join(f"<c lang='{each}'>{each}</c>" for each in languages) + "</a>")
    assert text(preferred(children(tree, "c"))) == right


@pytest.mark.parametrize(
    ("inside", "right"),
    [
        ("<claim>1. A.</claim><claim>2. B.</claim><claim/>", ["1. A.", "2. B."]),
        ("<claim><claim-text>1. A:</claim-text><claim-text>b.</claim-text></claim>", ["1. A: b."]),
        ("<claim><claim-text>1. A.</claim-text><claim-text>2. B.</claim-text></claim>", ["1. A.", "2. B."]),
    ],
)
def test_claims(inside: str, right: list[str]) -> None:
    assert claims(children(parse(f"<claims>{inside}</claims>"), "claim")) == right


def test_paragraphs() -> None:
    assert paragraphs(parse("<d><heading>F</heading><s><p>a<b>b</b></p></s><p/></d>")) == ["F", "ab"]
    assert paragraphs(parse("<d>only text</d>")) == ["only text"]
    assert paragraphs(None) == []


def test_what_holds_something() -> None:
    assert distinct(["a", "", "b", "a"]) == ["a", "b"]
    assert filled({"a": 1, "b": "", "c": [], "d": None}) == {"a": 1}
