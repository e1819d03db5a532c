"""What a run found, for people (terminal table, report.md; report.html is ``html_report``) and for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from patent_embed.evaluation.measure import EVALUATED_SPLITS, HEADLINE, EvalResult
from patent_embed.evaluation.slices import SliceReport
from patent_embed.folders import write_atomic
from patent_embed.progress.clock import duration
from patent_embed.report.content import (
    LABELS,
    RunReport,
    evidence_lines,
    headline,
    metric_rows,
    number,
    p_text,
    sentence,
    verdict_line,
)


def write_report_md(path: Path, report: RunReport) -> None:
    """report.md: verdict, results, slices, data, training, timings, settings."""
    parts = [
        f"# {report.title}",
        *_verdicts(report),
        *(_results(report.results, split) for split in reversed(EVALUATED_SPLITS)),
        *(_by_source(report.results, split) for split in reversed(EVALUATED_SPLITS)),
        _tested(report.slices),
        _data(report),
        _queries(report.queries),
        _negatives(report.negatives),
        _training(report),
        _timings(report),
        _settings(report),
    ]
    write_atomic(path, ("\n\n".join(part for part in parts if part) + "\n").encode())


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def metrics_table(results: Sequence[EvalResult], split: str) -> str:
    """All headline metrics of ``split`` as a Markdown table, empty without queries."""
    rows = metric_rows(results, split)
    return markdown_table(["", *LABELS.values()], rows) if rows else ""


def _verdicts(report: RunReport) -> list[str]:
    if not report.comparisons:
        return []
    first, *others = map(verdict_line, report.comparisons)
    return [f"**{first}**", *map(sentence, evidence_lines(report)), *others, _HOW]


_HOW = (
    "In brackets: 95 % interval of the difference by paired bootstrap; p: paired randomisation test, two-sided; both "
    "draw whole patents. *better* and *worse* are said where both exclude chance at the 5 % level."
)


def _results(results: Sequence[EvalResult], split: str) -> str:
    table = metrics_table(results, split)
    return f"## {headline(results, split)}\n\n{table}" if table else ""


def _by_source(results: Sequence[EvalResult], split: str) -> str:
    """nDCG@10 by query source, where there is more than one."""
    slices = {result.name: result.summary(split)["by_source"] for result in results}
    sources: dict[str, Any] = next(iter(slices.values()), {})
    if len(sources) < 2:
        return ""
    rows = [
        [source, f"{part['queries']:,}", *(number(slices[name][source]["metrics"][HEADLINE], "–") for name in slices)]
        for source, part in sources.items()
    ]
    table = markdown_table(["source", "queries", *slices], rows)
    note = "\n\nRule queries are lifted from the abstracts and reward word overlap." if "rules" in sources else ""
    return f"## {split}: {LABELS[HEADLINE]} by query source\n\n{table}{note}"


def _tested(found: SliceReport | None) -> str:
    """The slices with enough queries. Those with fewer are in metrics.json and report.html."""
    rows = [
        [
            f"{part.dimension}: {part.value}",
            *(f"{c.queries:,}", f"{c.baseline_mean:.4f}", f"{c.system_mean:.4f}", f"{c.difference:+.4f}"),
            *(f"{c.low:+.4f} to {c.high:+.4f}", p_text(c.p_value), c.verdict),
        ]
        for part in (found.slices if found else ())
        if (c := part.comparison)
    ]
    if found is None or not rows:
        return ""
    header = ["slice", "queries", found.baseline, found.system, "difference", "95 % interval", "adjusted p", ""]
    return f"## {found.split}: {LABELS[HEADLINE]} by slice\n\n{markdown_table(header, rows)}"


def _data(report: RunReport) -> str:
    tables = [
        _counts("data", report.data),
        _counts("rejected because", report.rejects),
        _counts("split (patents)", report.splits),
        _counts("query source", report.query_sources),
    ]
    return "\n\n".join(["## Data", *(table for table in tables if table)]) if any(tables) else ""


def _queries(found: Mapping[str, Any]) -> str:
    """What became of a model's answers."""
    if "generated" not in found:
        return ""
    verdicts = {"accepted": found["accepted_answers"]} | found["rejected_answers"]
    rows = [[name if name == "accepted" else f"rejected: {name}", f"{count:,}"] for name, count in verdicts.items()]
    examples = [f"- {name}: " + " ".join(map(_quoted, found["rejected_examples"].get(name, ()))) for name in verdicts]
    parts = [
        "## Queries by a model",
        f"{found['generated']:,} answers were generated in this run, {found['reused_answers']:,} were there already. A "
        "rejected answer is asked for once more.",
        markdown_table(["answers", ""], rows),
        "\n".join(["Examples of what was rejected:", "", *examples[1:]]) if examples[1:] else "",
        _counts("requests that failed", found.get("errors", {})),
        _counts("query kind", found.get("kinds", {})),
        _counts("tokens", found.get("tokens", {})),
    ]
    return "\n\n".join(part for part in parts if part)


def _quoted(text: str) -> str:
    """A model's words as Markdown that shows them, whatever they are."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`" if text.strip() else "(empty)"


def _negatives(found: Mapping[str, Any]) -> str:
    if not found:
        return ""
    parts: list[str] = ["## Negatives", _counts("rung", found.get("rungs", {}))]
    shortfall = {f"{missing} missing": anchors for missing, anchors in found.get("shortfall", {}).items()}
    if shortfall:
        parts.append(_counts("shortfall", shortfall, "anchors"))
    elif "shortfall" in found:
        parts.append("No shortfall: every anchor has all its negatives.")
    if found.get("anchors_without_negatives"):
        parts.append(f"{found['anchors_without_negatives']:,} of {found['anchors']:,} anchors have no negative.")
    parts.append(_counts("candidates refused because", found.get("filtered", {})))
    if scores := found.get("scores"):
        quantiles = list(scores["positive"])
        rows = [[name, *(f"{scores[name].get(q, math.nan):.3f}" for q in quantiles)] for name in scores]
        parts += ["Scores to the query, by quantile:", markdown_table(["", *quantiles], rows)]
    if groups := found.get("largest_groups"):
        parts.append("Largest groups: " + ", ".join(f"{g['main_group']} ({g['patents']:,})" for g in groups) + ".")
    if examples := found.get("examples"):
        parts += ["### Examples", *map(_example, examples)]
    return "\n\n".join(part for part in parts if part)


def _example(anchor: Mapping[str, Any]) -> str:
    """A query with its patent and the patent's negatives, as a list."""

    def patent(found: Mapping[str, Any]) -> str:
        return f"{found['publication_number']} {found['title']} ({', '.join(found['codes'])})"

    lines = [f"- **{anchor['query'] or '(no query)'}**", f"    - positive: {patent(anchor)}"]
    for negative in anchor["negatives"]:
        score = "" if negative["score"] is None else f", score {negative['score']:.3f}"
        lines.append(f"    - {negative['rung']}{score}: {patent(negative)}")
    return "\n".join(lines)


def _training(report: RunReport) -> str:
    if not report.history:
        return ""
    columns = {"loss": "loss", "val_ndcg@10": "val nDCG@10", "train_seconds": "seconds"}
    present = [name for name in columns if any(name in entry for entry in report.history)]
    rows = []
    for entry in report.history:
        epoch = f"{entry['epoch']:g}" + (" (kept)" if entry["epoch"] == report.kept_epoch else "")
        values = (number(entry.get(name), "–", 1 if name == "train_seconds" else 4) for name in present)
        rows.append([epoch, *values])
    return "## Training\n\n" + markdown_table(["epoch", *(columns[name] for name in present)], rows)


def _timings(report: RunReport) -> str:
    if not report.timings:
        return ""
    rows = [
        [step + (" (reused)" if step in report.reused else ""), duration(seconds)]
        for step, seconds in report.timings.items()
    ]
    return "## Time\n\n" + markdown_table(["step", "took"], rows)


def _settings(report: RunReport) -> str:
    parts = []
    if report.settings:
        text = yaml.safe_dump(dict(report.settings), allow_unicode=True, sort_keys=False)
        parts += ["## Settings", f"```yaml\n{text}```"]
    if report.versions:
        parts.append("Versions: " + ", ".join(f"{name} {version}" for name, version in report.versions.items()))
    return "\n\n".join(parts)


def _counts(title: str, counts: Mapping[str, int], unit: str = "") -> str:
    if not counts:
        return ""
    return markdown_table([title, unit], [[name, f"{count:,}"] for name, count in counts.items()])
