"""report.md: ``report.md.jinja`` is its text. What Markdown would take for its own is escaped here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from patent_embed.folders import write_atomic
from patent_embed.report import content
from patent_embed.report.content import RunReport, Table
from patent_embed.report.templates import fill


def write_report_md(path: Path, report: RunReport) -> None:
    """Write the report: verdict, results, slices, data, training, timings, settings.

    Parts that ``report`` has nothing for are left out.
    """
    found = {
        "report": report,
        "verdicts": [content.verdict_line(comparison) for comparison in report.comparisons],
        "evidence": [content.sentence(line) for line in content.evidence_lines(report)],
        "measured": [
            *content.result_tables(report.results),
            *content.interval_tables(report.intervals),
            *content.source_tables(report.results),
            *filter(None, [content.slice_table(report.slices)]),
        ],
        "answers": content.answer_counts(report.queries) if "generated" in report.queries else {},
        "judged": content.judge_notes(report),
        "shortfall": content.shortfall(report.negatives),
        "scores": content.score_table(report.negatives),
        "course": list(filter(None, [content.history_table(report), content.time_table(report)])),
        "settings": content.settings_text(report),
        "versions": content.versions_text(report.versions),
    }
    filters: dict[str, Callable[..., str]] = {
        "table": markdown_table,
        "counts": _counts,
        "quoted": _quoted,
        "patent": _patent,
        "fenced": fenced,
    }
    write_atomic(path, fill("report.md.jinja", found, filters=filters, escaped=escaped).encode())


class Markdown(str):
    """A text that is Markdown already: it is written as it is."""

    __slots__ = ()


_ACTIVE = re.compile(r"[\\`*<]|&(?=[#A-Za-z])|(?<=\])[(\[]")  # code, emphasis, HTML, entities, links and images


def escaped(value: Any) -> Any:
    """A text as Markdown that shows it, in one line; what is no text, and ``Markdown``, as it is."""
    if isinstance(value, Markdown) or not isinstance(value, str):
        return value
    return Markdown(_ACTIVE.sub(lambda match: _ENTITIES.get(match[0], f"\\{match[0]}"), _LINE_BREAK.sub(" ", value)))


_LINE_BREAK = re.compile("[\n-\r\x1c-\x1e\x85\u2028\u2029]+")
_ENTITIES = {"<": "&lt;", "&": "&amp;"}


def fenced(text: str, language: str) -> Markdown:
    """A block of code, whose fence is longer than any in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markdown(f"{fence}{language}\n{text}{fence}")


def code(text: str) -> Markdown:
    """A text as code in a line."""
    return Markdown("`" + " ".join(text.replace("`", "'").split()) + "`")


def markdown_table(table: Table) -> Markdown:
    """A Markdown table, without its title and note; all columns but the first are numbers."""
    lines = [table.header, ["---", *["---:"] * (len(table.header) - 1)], *table.rows]
    rows = ("| " + " | ".join(escaped(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
    return Markdown("\n".join(rows))


def _counts(counts: Mapping[str, int], title: str, unit: str = "") -> Markdown:
    return markdown_table(Table("", [title, unit], [[name, f"{count:,}"] for name, count in counts.items()]))


def _quoted(texts: Sequence[str]) -> Markdown:
    """A model's words as Markdown that shows them, whatever they are."""
    return Markdown(" ".join(code(text) if text.strip() else "(empty)" for text in texts))


def _patent(found: Mapping[str, Any]) -> str:
    return f"{found['publication_number']} {found['title']} ({', '.join(found['codes'])})"
