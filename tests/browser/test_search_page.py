"""The search page in a real browser: searched, filtered, judged, by keys, on hostile patents, without a word on the
console, at the width of a desk and of a phone, light and dark."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from patent_embed.serving.app import create_app
from patent_embed.serving.guard import Limits
from patent_embed.serving.judgements import JudgementLog
from patent_embed.serving.live import Live
from tests.browser.pages import FAINT
from tests.serving import engine, records

pytestmark = [pytest.mark.browser, pytest.mark.slow]
TOKEN = "a token of this test"
ATTACKS = (
    "<script>document.title = 'owned'</script>",
    "<img src=x onerror=\"document.title = 'owned'\">",
    "</textarea></details><svg onload=\"document.title = 'owned'\">",
    '"><a href="javascript:document.title=\'owned\'">水泵</a>',
    "{{ 7 * 7 }} ${7 * 7} <!-- \u202e\u2028",
)


@dataclass
class Site:
    address: str
    log: JudgementLog


def site(folder: Path, found: list[dict[str, Any]], tiny_model: Path, token: str = "") -> Iterator[Site]:
    served = engine(folder, found, tiny_model)
    log = JudgementLog(folder / "judgements.jsonl")
    app = create_app(Live(lambda output: served, "", judgements=log), Limits(token))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield Site(f"http://127.0.0.1:{listening.getsockname()[1]}", log)
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Site]:
    found = [each | {"abstract": each["abstract"] * 6} for each in records(120)]  # longer than what is shown at first
    yield from site(tmp_path_factory.mktemp("plain"), found, tiny_model)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Site]:
    found = records(20)
    for number, each in enumerate(found):
        attack = ATTACKS[number % len(ATTACKS)]
        each |= {"publication_number": f"{number:02d}{attack}/../?a=b#c", "title": f"{attack}水泵"}
        each |= {"abstract": f"水泵{attack}水泵", "claims": [attack], "description": attack, "applicants": [attack]}
    yield from site(tmp_path_factory.mktemp("hostile"), found, tiny_model)


@pytest.fixture
def page(chromium) -> Iterator[Any]:
    yield from opened(chromium)


def opened(chromium: Any, width: int = 1280, scheme: str = "light") -> Iterator[Any]:
    """A page that may neither say anything nor ask another host."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: said.append(request.url) if "//127.0.0.1:" not in request.url[:20] else None)
    yield page
    assert [line for line in said if not line.startswith("data:")] == []
    context.close()


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole(chromium, plain: Site, width: int, scheme: str, language: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-core is not installed").Axe()
    for page in opened(chromium, width, scheme):
        for asked in ("", "&q=滤网和水泵&hybrid=1&ipc=G06T", "&like=CN000003A"):
            page.goto(f"{plain.address}/?lang={language}{asked}")
            page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
            page.wait_for_load_state("networkidle")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(FAINT) == []
            found = axe.run(page).response["violations"]
            assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
        assert dark == (scheme == "dark")


def test_search_filter_record_and_link(page, plain: Site) -> None:
    page.goto(plain.address)
    page.fill("#q", "带滤网的装置")
    page.press("#q", "Enter")
    page.check("[name=hybrid]")
    page.click("button.main")
    assert page.locator(".column h2").all_inner_texts() == ["Hybrid", "Tuned", "Base", "BM25 (words)"]
    page.click(".facet a >> nth=0")
    chip = page.inner_text(".chips a").split()[0]
    for codes in page.locator(".hit .meta").all_inner_texts():
        assert chip in codes
    assert page.locator("mark").first.inner_text() == "滤网"
    page.click("details.record summary >> nth=0")
    page.wait_for_selector("details.record dd")
    assert "根据权利要求1所述的装置。" in page.inner_text("details.record dl >> nth=0")
    numbers = page.locator(".hit").evaluate_all("hits => hits.map(hit => hit.dataset.number)")
    page.goto(page.url)
    assert page.locator(".hit").evaluate_all("hits => hits.map(hit => hit.dataset.number)") == numbers


def test_judgements_are_saved_at_once_and_shown_again(page, plain: Site) -> None:
    page.goto(f"{plain.address}/?q=齿轮")
    hit = page.locator(".hit").first
    number = hit.get_attribute("data-number")
    everywhere = page.locator(f'.hit[data-number="{number}"] [data-relevant=true]')
    for pressed, verdict in (("true", True), ("false", None), ("true", True)):
        hit.get_by_role("button", name="Relevant", exact=True).click()
        page.wait_for_selector("#said:has-text('Saved')")
        page.evaluate("said.textContent = ''")
        assert plain.log.verdict("齿轮", number) is verdict
        assert set(everywhere.evaluate_all("all => all.map(each => each.getAttribute('aria-pressed'))")) == {pressed}
    page.reload()
    assert everywhere.first.get_attribute("aria-pressed") == "true"


def test_keys(page, plain: Site) -> None:
    page.goto(f"{plain.address}/?q=天线")
    page.keyboard.press("j")
    page.keyboard.press("j")
    focused = "document.activeElement.closest('.hit')?.dataset.number"
    second = page.evaluate(focused)
    assert second == page.locator(".hit").nth(1).get_attribute("data-number")
    page.keyboard.press("n")
    page.wait_for_selector("#said:has-text('Saved')")
    assert plain.log.verdict("天线", second) is False
    page.keyboard.press("o")
    page.wait_for_selector("details.record dd")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("jk")
    assert page.input_value("#q") == "天线jk"
    page.locator(".hit").first.focus()
    page.keyboard.press("m")
    page.wait_for_url("**like=*")


def test_hostile_patents_are_text(page, hostile: Site) -> None:
    for asked in ("水泵", *ATTACKS):
        page.goto(hostile.address)
        page.fill("#q", asked)
        page.click("button.main")
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        page.wait_for_selector(".hit details.record dd")
        page.wait_for_load_state("networkidle")
        page.locator(".judge button").first.click()
        page.wait_for_selector("#said:has-text('Saved')")
        assert "owned" not in page.evaluate("document.title.replace(q.value, '')").replace(asked[:50], "")
        assert page.locator(".hit script, .hit img, .hit svg, a[href^=javascript]").count() == 0
    page.click("a.like >> nth=0")
    assert page.locator(".hit").count() > 0


def test_were_patents_html_the_policy_would_not_let_their_scripts_run(chromium, plain: Site) -> None:
    page = chromium.new_page()  # whose console may say so
    page.goto(plain.address)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<b id=added onclick=\"document.title = 1\">x</b>')")
    page.click("#added")
    assert page.title() != "1"
    page.close()


def test_a_token_is_entered_once(page, tmp_path: Path, tiny_model: Path) -> None:
    for guarded in site(tmp_path / "guarded", records(12), tiny_model, TOKEN):
        page.goto(guarded.address)
        page.fill("#token", TOKEN)
        page.press("#token", "Enter")
        page.fill("#q", "水泵")
        page.press("#q", "Enter")
        page.wait_for_selector(".hit")
