"""Templates are found beside the modules and filled in."""

from __future__ import annotations

import jinja2
import pytest

from patent_embed.report.templates import fill


def test_what_is_not_given_is_an_error_and_no_gap() -> None:
    with pytest.raises(jinja2.UndefinedError, match="drawn"):
        fill("figures_of_a_page.html.jinja", {}, package="tests.unit.report")


def test_a_package_uses_the_macros_of_the_report_and_texts_are_escaped() -> None:
    drawn = [{"title": "<1>", "chart": 1234}]
    page = fill("figures_of_a_page.html.jinja", {"drawn": drawn}, package="tests.unit.report")
    assert "<b>&lt;1&gt;</b></figcaption>1234</figure>" in page
    assert page.startswith("1,234 figures, zh, 75 s")
