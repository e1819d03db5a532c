from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from lxml import html
from starlette.testclient import TestClient

from patent_embed.serving.app import create_app
from patent_embed.serving.engine import Engine
from patent_embed.serving.guard import Limits
from patent_embed.serving.live import Live
from patent_embed.serving.page import Link
from patent_embed.serving.phrases import _BOTH, chosen
from tests.serving import engine, records

ATTACK = '"><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}'


@pytest.fixture
def client(served: Engine) -> Iterator[TestClient]:
    with TestClient(create_app(Live(lambda output: served, ""), Limits()), base_url="http://127.0.0.1") as client:
        yield client


def texts(page: html.HtmlElement, path: str) -> list[str]:
    return [each.text_content() for each in page.xpath(path)]


def test_a_link_reproduces_a_search(client: TestClient) -> None:
    asked = {
        "q": "滤网",
        "ipc": ["g06t 3", "A47G", "<b>"],
        "from": "2011",
        "to": "2018-06",
        "hybrid": "1",
        "lang": "zh",
    }
    page = html.fromstring(client.get("/", params=asked).text)
    assert page.get("lang") == "zh"
    assert texts(page, "//section[@class='column']/h2") == ["混合", "微调后", "微调前", "BM25（词）"]
    assert page.xpath("//textarea/text()") == ["滤网"]
    chips = "//ul[@class='chips']//a"
    assert texts(page, chips) == ["G06T3 ×", "A47G ×", "2011–2018-06 ×"]
    without = html.fromstring(client.get(page.xpath(f"{chips}/@href")[0]).text)
    assert texts(without, chips) == ["A47G ×", "2011–2018-06 ×"]
    english = html.fromstring(client.get(page.xpath("//nav//a[@lang='en']/@href")[0]).text)
    numbers = "//article[contains(@class, 'hit')]/@data-number"
    assert english.xpath(numbers) == page.xpath(numbers) != []
    assert set(texts(page, "//mark")) == {"滤网"}


def test_more_like_this_and_facets_are_links(client: TestClient) -> None:
    page = html.fromstring(client.get("/", params={"q": "滤网"}).text)
    like = html.fromstring(client.get(page.xpath("//a[@class='like']/@href")[0]).text)
    number = page.xpath("//article/@data-number")[0]
    assert f"Patents like {number}" in like.text_content()
    assert number not in like.xpath("//article/@data-number")
    facet = page.xpath("//ul[@class='facet']//a")[0]
    _, results, patents = re.match(r"(\S+) (\d+) / (\d+)", facet.text_content()).groups()  # type: ignore[union-attr]
    narrowed = html.fromstring(client.get(facet.get("href")).text)
    assert f"{patents} patents searched" in narrowed.text_content()
    assert int(results) == int(patents)  # all 150 are among the first 200


def test_what_patents_and_queries_say_never_becomes_html(tmp_path: Path, tiny_model: Path) -> None:
    found = records(3)
    for number, each in enumerate(found):
        each |= {key: [ATTACK] if isinstance(value, list) else ATTACK for key, value in each.items()}
        each |= {"publication_number": f"{number}{ATTACK}", "abstract": f"水泵 {ATTACK}", "publication_date": None}
    hostile = engine(tmp_path, found, tiny_model)
    with TestClient(create_app(Live(lambda output: hostile, ""), Limits()), base_url="http://127.0.0.1") as client:
        known = found[0]["publication_number"]
        for asked in ({"q": f"水泵 {ATTACK}", "lang": ATTACK}, {"like": known}, {"like": ATTACK}):
            text = client.get("/", params=asked | {"ipc": ATTACK, "from": ATTACK}).text
            page = html.fromstring(text)
            assert page.xpath("//script/@src") == [re.search(r"/static/search.js\?v=\w+", text)[0]]  # type: ignore[index]
            assert page.xpath("//img | //@onerror") == []
            assert "49" not in page.xpath("//title/text()")[0]
        shown = html.fromstring(client.get("/", params={"q": "水泵"}).text)
        assert shown.xpath("//article/@data-number")[0].endswith(ATTACK)
        assert ATTACK in unescape(shown.xpath("//p[@class='abstract']")[0].text_content())


def test_a_text_that_no_link_holds_is_said(client: TestClient) -> None:
    assert "has 20,001 characters, a link holds 20,000" in client.get("/", params={"q": "a" * 20_001}).text


def test_both_languages_say_everything() -> None:
    for key, (english, chinese) in _BOTH.items():
        assert english
        assert chinese
        assert re.findall(r"{\w+}", english) == re.findall(r"{\w+}", chinese), key
    assert [chosen("", "zh-CN,zh;q=0.9"), chosen("", "de, zh;q=0.5"), chosen("xx", "")] == ["zh", "zh", "en"]
    assert chosen("en", "zh") == "en"


def test_links_change_one_thing() -> None:
    link = Link("a b&c", ipc=("G06T3/40",), date_from="2015")
    assert link.but(hybrid=True) == "/?q=a%20b%26c&ipc=G06T3%2F40&from=2015&hybrid=1"
    assert link.but(q="", ipc=(), date_from="") == "/?"
