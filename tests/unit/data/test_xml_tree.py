import pytest

from patent_embed.data import xml_tree
from patent_embed.data.xml_tree import (
    XmlProblem,
    attribute,
    child,
    children,
    declared_encoding,
    declared_entities,
    descendants,
    local,
    parse,
    text,
    texts,
)


@pytest.mark.parametrize(
    ("inside", "right"),
    [
        ("H<sub>2</sub>O and <i>x</i>", "H2O and x"),
        ("a<p>b</p><p>c</p>d", "a b c d"),
        ("1. A device:<claim-text>(a) x;</claim-text><claim-text>(b) y.</claim-text>", "1. A device: (a) x; (b) y."),
        ("<number>1.</number>a<!-- b --> c<?d e?>", "a c"),
        ("a\n   b\t\u00a0c", "a b c"),
        ("<![CDATA[a < b &amp; c]]>", "a < b &amp; c"),
        ("<maths><math><mi>x</mi><mo>=</mo><mn>1</mn></math></maths>", "x=1"),
        ("&agr;&Dgr;&PHgr;&thgr; &ldquo;x&rdquo; &nbsp;&plus;&lt;&amp;&#913;&#x391;", "αΔΦθ “x” +<&ΑΑ"),
        ("&unheardof; stays", "&unheardof; stays"),
    ],
)
def test_text(inside: str, right: str) -> None:
    assert text(parse(f"<a>{inside}</a>")) == right


@pytest.mark.parametrize(
    ("inside", "right"),
    [
        ("R&D & more", "R&D & more"),
        ("a < b and <= c <5%", "a < b and <= c <5%"),
        ("a\x0bb\x00", "ab"),
        ('<exch:p x:y="1">a</exch:p>', "a"),
        ("<new:p>R&D</new:p>", "R&D"),
    ],
)
def test_what_can_be_put_right_without_a_loss_is(inside: str, right: str) -> None:
    assert text(parse(f"<a>{inside}</a>")) == right


@pytest.mark.parametrize(
    "content",
    [
        "<a><b></a>",
        "<a>",
        "<a/><a/>",
        "<a></_><_></a>",
        "<a b='1' b='2'/>",
        "<a>x<y</a>",
        "<a>" + "<b>" * 300 + "</b>" * 300 + "</a>",
        "<a>" + "<b>" * 100_000 + "</a>",
        "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "",
    ],
)
def test_everything_else_is_a_problem(content: str) -> None:
    with pytest.raises(XmlProblem):
        parse(content)


LAUGHS = '<!DOCTYPE a [<!ENTITY lol0 "lol">' + "".join(
    f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("declarations", "reference"),
    [
        (LAUGHS + "]>", "&lol9;"),
        ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>', "&x;"),
        ("<!DOCTYPE a [<!ENTITY x PUBLIC 'y' 'http://localhost:1/y'>]>", "&x;"),
        ('<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///etc/passwd"><!ENTITY x "%p;">]>', "&x;"),
        ("<!DOCTYPE a [<!ENTITY x '<b/>'>]>", "&x;"),
        (f"<!DOCTYPE a [<!ENTITY x '{'y' * 1001}'>]>", "&x;"),
        (f"<!DOCTYPE a [<!ENTITY x '{'y' * 1000}'>]>", "&x;" * 2000),
    ],
)
def test_entities_that_grow_or_come_from_outside_are_refused(declarations: str, reference: str) -> None:
    entities = declared_entities(declarations.encode())
    for place in (f"<a>{reference}</a>", f"<a b='{reference}'/>"):
        with pytest.raises(XmlProblem, match="entit"):
            parse(place, entities)


def test_simple_entities_of_the_document_are_replaced() -> None:
    entities = declared_entities(
        b"<!DOCTYPE a [<!ENTITY firm 'M&#252;ller'> <!ENTITY fig SYSTEM 'a.tif' NDATA TIF><!ENTITY firm 'not'>]>"
    )
    assert text(parse("<a>&firm; &amp; Co</a>", entities)) == "Müller & Co"
    assert text(parse("<a b='&firm;'>x</a>", entities)) == "x"


def test_nothing_is_declared_without_a_declaration() -> None:
    assert declared_entities(b"<a>") == {}


def test_too_many_tags_are_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_tree, "MAX_TAGS", 10)
    with pytest.raises(XmlProblem, match="more than 10 tags"):
        parse("<a>" + "<b/>" * 10 + "</a>")


def test_a_text_of_more_than_10_megabytes_is_a_problem() -> None:
    with pytest.raises(XmlProblem, match="too long"):
        parse("<a>" + "x" * (11 << 20) + "</a>")


@pytest.mark.parametrize(
    ("gap", "right"),
    [
        (b"<?xml version='1.0' encoding='GB2312'?>", "gb2312"),
        (b'<?xml version="1.0" encoding = "a"?></x><?xml version="1.0" encoding="b"?>', "b"),
        (b"<?xml version='1.0'?><a>", ""),
    ],
)
def test_declared_encoding(gap: bytes, right: str) -> None:
    assert declared_encoding(gap) == right


TREE = parse('<a xmlns:n="m" k=" v "><n:b>1</n:b><c><b>2</b><d><b>3</b></d></c><b/></a>')


def test_walking() -> None:
    assert (local(TREE), attribute(TREE, "k"), attribute(TREE, "x"), attribute(None, "k")) == ("a", "v", "", "")
    assert texts(children(TREE, "b")) == ["1"]
    assert len(children(TREE, "b")) == 2
    assert text(child(TREE, "c", "b")) == "2"
    assert (child(TREE, "x"), child(None, "b"), children(None, "b"), text(None)) == (None, None, [], "")
    assert texts(descendants(TREE, "b")) == ["1", "2", "3"]
    assert texts(descendants(TREE, "c", "d")) == ["23"]  # not what is inside one that was given
    assert list(descendants(None, "b")) == []
