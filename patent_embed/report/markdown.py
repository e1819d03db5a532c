"""report.md: ``report.md.jinja`` is its text. What Markdown would take for its own is escaped here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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
            *content.source_tables(report.results),
            *filter(None, [content.slice_table(report.slices)]),
        ],
        "answers": content.answer_counts(report.queries) if "generated" in report.queries else {},
        "shortfall": content.shortfall(report.negatives),
        "scores": content.score_table(report.negatives),
        "course": list(filter(None, [content.history_table(report), content.time_table(report)])),
        "settings": content.settings_text(report),
        "versions": content.versions_text(report.versions),
    }
    filters: dict[str, Callable[..., str]] = {"table": markdown_table, "counts": _counts, "quoted": _quoted}
    write_atomic(path, fill("report.md.jinja", found, filters=filters).encode())


def markdown_table(table: Table) -> str:
    """A Markdown table, without its title and note; all columns but the first are numbers."""
    lines = [table.header, ["---", *["---:"] * (len(table.header) - 1)], *table.rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _counts(counts: Mapping[str, int], title: str, unit: str = "") -> str:
    return markdown_table(Table("", [title, unit], [[name, f"{count:,}"] for name, count in counts.items()]))


def _quoted(texts: Sequence[str]) -> str:
    """A model's words as Markdown that shows them, whatever they are."""
    return " ".join(
        "`" + " ".join(text.replace("`", "'").split()) + "`" if text.strip() else "(empty)" for text in texts
    )
