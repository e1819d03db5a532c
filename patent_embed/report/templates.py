"""Fills the templates that lie beside the modules, in an installed wheel as well.

In one that is named ``….html.jinja`` every text of the data is escaped; Markdown's templates are given what escapes it
(``markdown.escaped``). Control characters and marks of direction are shown, not obeyed, in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from patent_embed.data.cleaning import detect_language
from patent_embed.progress.clock import duration
from patent_embed.text import visible

_SHARED = "patent_embed.report"  # whose templates those of other packages may extend


def fill(
    name: str,
    given: Mapping[str, Any],
    *,
    package: str = _SHARED,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    escaped: Callable[[Any], Any] = lambda value: value,
) -> str:
    """The text of a template.

    Args:
        name: of its file, ``report.md.jinja``.
        given: what it may use.
        package: where it lies.
        escaped: what becomes of every value that a Markdown template writes.
        filters: beside those that all have: ``count`` (1,234), ``duration`` (75 s), ``language`` (zh, en or nothing).

    Raises:
        jinja2.UndefinedError: the template uses something that was not given.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(place, ".") for place in dict.fromkeys([package, _SHARED])]),
        autoescape=name.endswith(".html.jinja"),
        undefined=StrictUndefined,
        finalize=lambda value: _seen(escaped(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"language": _language, "duration": duration, "count": "{:,}".format, **(filters or {})}
    return environment.get_template(name).render(given)


def _seen(value: Any) -> Any:
    """A text without what a viewer would obey; markup stays markup."""
    return type(value)(visible(value)) if isinstance(value, str) else value


def _language(text: str) -> str:
    """Which fonts and line breaks a text wants: the value of an HTML ``lang``."""
    return detect_language(text) if text and detect_language(text) != "other" else ""
