"""Markup goes, text stays."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patent_embed.data.markup import without_markup


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("H<sub>2</sub>O and Al<SUB>2</SUB>O<sub>3</sub>", "H2O and Al2O3"),
        ("温度&gt;100&#8451;，浓度&lt;5%", "温度>100℃，浓度<5%"),
        ("A&amp;amp;B, A&amp;B, A&B, R&D", "A&B, A&B, A&B, R&D"),
        ("&lt;p&gt;text&lt;/p&gt;", "\ntext\n"),
        ('<maths id=\'m1\'><math><mi>x</mi><mo>=</mo><mn>1</mn></math><img he="5" file="D.GIF"/></maths>。', "x=1。"),
        ('<p id="pa01" num="0001">one</p><p>two</p>', "\none\n\ntwo\n"),
        ("one<br/>two<BR>three", "one\ntwo\nthree"),
        ("<ns1:p>text</ns1:p>", "\ntext\n"),
        ("<claim-text>text <claim-ref idref='1'>claim 1</claim-ref></claim-text>", "\ntext claim 1\n"),
        ("<!-- comment -->text<?pi x?><!DOCTYPE html>", "text"),
        ("<script>if (a<b) {}</script>text<style>p{}</style>", "text"),
        ("<![CDATA[a < b]]>", "a < b"),
        ("a<b且c>d", "a<b且c>d"),
        ("a<b>c", "a<b>c"),
        ("if a<b and c>d", "if a<b and c>d"),
        ("1<2, 3>2, x<=y, x->y, <5mm>", "1<2, 3>2, x<=y, x->y, <5mm>"),
        ("若x&lt;y，则y&gt;x", "若x<y，则y>x"),
        ("AT&T; &copy; &nosuch; &#x4e00;", "AT&T; © &nosuch; 一"),
        ("plain", "plain"),
    ],
)
def test_markup(text: str, plain: str) -> None:
    assert without_markup(text) == plain


@given(st.text(alphabet=st.sampled_from("<>/&;#abpsu =\"'-!?[]CDATA012一"), max_size=60))
def test_any_text(text: str) -> None:
    assert len(without_markup(text)) <= len(text)


def test_time_grows_with_the_text_alone() -> None:
    for text in ("<a " * 20_000, "<!--" * 20_000, "&amp;" * 20_000, "<p a=" * 20_000, "<script>" * 5_000):
        without_markup(text)


@pytest.mark.parametrize("begin", ["<!--", "<?x", "<script>", "<![CDATA[", "<!DOCTYPE", "<style><!--"])
def test_beginnings_without_an_end_stay_however_many_there_are(begin: str) -> None:
    """Half a million of them: looking for the end of each would take an hour."""
    assert without_markup(begin * 500_000) == begin * 500_000


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a<!-- b --> c<!-- d", "a c<!-- d"),
        ("a<!--> b --> c", "a c"),
        ("a<?xml v?>b<?x>c?>", "ab<?x>c?>"),
        ("a<SCRIPT x='1'>b</script >c<script>d", "ac<script>d"),
        ("a<style>b<!-- c</style>d-->", "ad-->"),
        ("<![CDATA[a]]>b<![CDATA[c", "ab<![CDATA[c"),
        ("<![CDATA[<!-- a -->b]]>", "b"),
    ],
)
def test_hidden_parts(text: str, shown: str) -> None:
    assert without_markup(text) == shown
