"""What is asked of every page, at the width of a desk and of a phone, light and dark."""

from __future__ import annotations

from typing import Any

# Texts of one chart that lie on each other, by more than the air around letters.
OVERLAPS = """() => [...document.querySelectorAll('svg.chart')].flatMap(chart => {
    const boxes = [...chart.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
    return boxes.flatMap(([t, a], i) => boxes.slice(i + 1).filter(([, b]) => meet(a, b)).map(([u]) => [t, u]));
})"""

# Charts, and of each: its name, its size on the page, and how many of its marks have an extent and a colour.
CHARTS = """() => [...document.querySelectorAll('svg.chart, svg.interval')].map(chart => {
    const box = chart.getBoundingClientRect();
    const drawn = [...chart.querySelectorAll('path, rect, circle')].filter(mark => {
        const style = getComputedStyle(mark), size = mark.getBBox();
        return size.width + size.height > 0 && (style.fill !== 'none' || style.stroke !== 'none');
    });
    return {name: chart.getAttribute('aria-label'), width: box.width, height: box.height, drawn: drawn.length,
            broken: chart.outerHTML.includes('NaN')};
})"""

# Texts whose contrast to what lies behind them is below 4.5 (WCAG 2.2, 1.4.3).
FAINT = """() => {
    const parts = color => color.match(/[\\d.]+/g).map(Number);
    const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => [r, g, b].map(c => linear(c / 255))
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = e => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
    const own = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    return [...document.body.querySelectorAll('*:not(title)')].filter(own).map(e => {
        const style = getComputedStyle(e), color = parts(e instanceof SVGElement ? style.fill : style.color);
        const [a, b] = [light(color), light(behind(e))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.textContent.slice(0, 40)];
    }).filter(([contrast]) => contrast < 4.5);
}"""


def whole(chromium: Any, address: str, width: int, scheme: str) -> list[dict[str, Any]]:
    """Open a page with all its details, and check that it is whole: it says and loads nothing, does not scroll
    sideways, draws every chart, and every text can be read. Returns its charts."""
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")

    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    charts: list[dict[str, Any]] = page.evaluate(CHARTS)
    for chart in charts:
        assert chart["drawn"] > 1, chart
        assert 0 < chart["width"] <= width, chart
        assert chart["height"] > 10, chart
        assert not chart["broken"], chart
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(FAINT) == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    context.close()
    return charts
