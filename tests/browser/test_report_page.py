"""report.html in a real browser: at the width of a desk and of a phone, light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from patent_embed.report.html import write_report_html
from tests.browser.pages import whole
from tests.evidence import full_report

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    write_report_html(path, full_report())
    return path.as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_whole(chromium, address: str, width: int, scheme: str) -> None:
    charts = whole(chromium, address, width, scheme)
    assert sum(chart["name"].startswith("difference") for chart in charts) > 5
    assert len(charts) > 20


def test_chinese_has_glyphs(chromium, address: str) -> None:
    """A font without them draws every character as the same box; where no font of the machine has any, none can."""
    page = chromium.new_page()
    page.goto(address)
    drawn = page.evaluate(
        """() => ['装', '固', '\\u{10fffd}'].map(char => {
            const canvas = Object.assign(document.createElement('canvas'), {width: 40, height: 40});
            const pen = canvas.getContext('2d');
            pen.font = '30px ' + getComputedStyle(document.querySelector('[lang=zh]')).fontFamily;
            pen.fillText(char, 2, 32);
            return canvas.toDataURL();
        })"""
    )
    page.close()
    if drawn[0] == drawn[2]:
        pytest.skip("no font of this machine has Chinese characters")
    assert drawn[0] != drawn[1]
