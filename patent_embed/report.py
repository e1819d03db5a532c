"""What a run found, for people (terminal table, report.md; report.html is ``html_report``) and for programs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from patent_embed.artifacts import write_atomic, write_json
from patent_embed.columns import columns, cut
from patent_embed.evaluation import EVALUATED_SPLITS, HEADLINE, Comparison, EvalResult
from patent_embed.forgetting import LANGUAGES, Forgetting
from patent_embed.progress import duration
from patent_embed.rank_changes import RankChanges
from patent_embed.slices import ENOUGH_FOR_A_SLICE, SliceReport

METRICS_SCHEMA_VERSION = 1
_WIDTH = 80
LABELS = {
    "ndcg@10": "nDCG@10",
    "mrr@10": "MRR@10",
    "map@50": "MAP@50",
    "recall@1": "R@1",
    "recall@5": "R@5",
    "recall@10": "R@10",
    "recall@50": "R@50",
    "graded_ndcg@10": "IPC nDCG@10",
    "triplet_accuracy": "triplets",
    "positive_similarity": "cos pos.",
    "negative_similarity": "cos neg.",
}
_TERMINAL = ("ndcg@10", "mrr@10", "map@50", "recall@1", "recall@10", "recall@50", "triplet_accuracy")


@dataclass(frozen=True)
class RunReport:
    """What a report is made of. Everything but ``results`` may be left empty; its part is then left out.

    Attributes:
        results: systems in the order of their rows: the floor, the base model, the tuned model.
        comparisons: the first one is the verdict.
        title: what was compared.
        slices: of the first comparison.
        forgetting: of the first comparison, on general sentence pairs: all of them first, then each language.
        changes: queries that won and lost most in the first comparison.
        data: counts of what went in: ``{"records": 5753, "patents": 5741, "families": 5700}``.
        rejects: records that were not used, by reason.
        splits: patents in each split.
        query_sources: queries by source.
        queries: of the queries step, where a model wrote: ``generated``, ``reused_answers``, ``accepted_answers``,
            ``rejected_answers`` and ``rejected_examples`` (by reason), ``errors``, ``tokens``.
        negatives: of the negatives step: ``anchors``, ``negatives``, ``rungs`` (by rung), ``shortfall`` (missing
            negatives → anchors), ``anchors_without_negatives``.
        history: an entry an epoch with ``epoch`` and any of ``loss``, ``val_ndcg@10``, ``train_seconds``; epoch 0 is
            the model before training.
        kept_epoch: whose weights were kept.
        loss_curve: optimizer step and its loss.
        timings: seconds of each step, in order.
        throughput: of the steps where it says something: ``{"train": "3.8 triplets/s"}``.
        reused: steps whose result was there already; their time is that of the run that made it.
        settings: the resolved config without secrets.
        versions: of this program and of what it stands on.
    """

    results: Sequence[EvalResult]
    comparisons: Sequence[Comparison] = ()
    title: str = "Retrieval before and after fine-tuning"
    slices: SliceReport | None = None
    forgetting: Sequence[Forgetting] = ()
    changes: RankChanges | None = None
    data: Mapping[str, int] = field(default_factory=dict)
    rejects: Mapping[str, int] = field(default_factory=dict)
    splits: Mapping[str, int] = field(default_factory=dict)
    query_sources: Mapping[str, int] = field(default_factory=dict)
    queries: Mapping[str, Any] = field(default_factory=dict)
    negatives: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    kept_epoch: int | None = None
    loss_curve: Sequence[tuple[int, float]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    throughput: Mapping[str, str] = field(default_factory=dict)
    reused: Collection[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


def verdict_line(comparison: Comparison) -> str:
    """``tuned is better than base on test nDCG@10: 0.755 → 0.852, +0.097 [+0.080, +0.110], p < 0.001, 180 queries``"""
    c, metric = comparison, LABELS[comparison.metric]
    finding = {
        "better": f"{c.system} is better than {c.baseline}",
        "worse": f"{c.system} is worse than {c.baseline}",
        "no difference": f"no difference between {c.system} and {c.baseline} can be shown",
    }[c.verdict]
    return (
        f"{finding} on {c.split} {metric}: {c.baseline_mean:.4f} → {c.system_mean:.4f}, "
        f"{c.difference:+.4f} [{c.low:+.4f}, {c.high:+.4f}], {p_text(c.p_value)}, {c.queries:,} queries"
    )


def p_text(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def slices_line(found: SliceReport) -> str:
    """The second line of a verdict: the slices that became worse, by name, or that none did."""
    if not found.tested:
        return f"no slice has {ENOUGH_FOR_A_SLICE} queries, so none was tested"
    tested = f"{found.tested} slices of at least {ENOUGH_FOR_A_SLICE} queries tested, p adjusted by Holm"
    named = [
        f"{part.dimension} {part.value} ({c.baseline_mean:.4f} → {c.system_mean:.4f}, {c.difference:+.4f} "
        f"[{c.low:+.4f}, {c.high:+.4f}], {p_text(c.p_value)}, {c.queries:,} queries)"
        for part in found.found("worse")
        if (c := part.comparison)
    ]
    if not named:
        return f"no slice in which {found.system} is worse than {found.baseline} can be shown ({tested})"
    return f"but {found.system} is worse than {found.baseline} in " + "; ".join(named) + f" ({tested})"


def forgetting_line(found: Forgetting) -> str:
    """What became of the similarity of general sentences: drop or rise of Spearman's correlation."""
    f = found
    said = {"worse": "got worse", "better": "got better", "no difference": "no change can be shown"}[f.verdict]
    language = f" in {LANGUAGES[f.language]}" if f.language in LANGUAGES else ""
    return (
        f"general sentence pairs{language}: {said}, Spearman {f.baseline_correlation:.4f} → "
        f"{f.system_correlation:.4f}, {f.difference:+.4f} [{f.low:+.4f}, {f.high:+.4f}], {f.pairs:,} pairs"
    )


def evidence_lines(report: RunReport) -> list[str]:
    """What stands beside the verdict: the slices, and the general sentences."""
    slices = [slices_line(report.slices)] if report.slices else []
    return [*slices, *map(forgetting_line, report.forgetting[:1])]


def comparison_table(
    results: Sequence[EvalResult], comparisons: Iterable[Comparison] = (), *, split: str = "test"
) -> str:
    """A table for the terminal, at most 80 columns wide, with the verdicts below it."""
    rows = [["", *(LABELS[name] for name in _TERMINAL)]]
    for result in results:
        found = result.summary(split)["metrics"]
        rows.append([result.name, *(_number(found[name], "-") for name in _TERMINAL)])
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    widths[0] = min(widths[0], _WIDTH - sum(widths[1:]) - 2 * len(_TERMINAL))
    lines = [headline(results, split)]
    for row in rows:
        cells = (
            _fit(cell, width, right=place > 0) for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join(cells).rstrip())
    for comparison in comparisons:
        lines.extend(textwrap.wrap(verdict_line(comparison), _WIDTH, subsequent_indent="  "))
    return "\n".join(lines)


def write_metrics(path: Path, report: RunReport) -> None:
    """metrics.json: ``schema_version``, ``headline`` (the metric that decides), ``systems`` (name → scale, and for
    each split the sources and number of the headline queries, ``metrics``, and the same ``by_source``; a metric
    without anything to measure is null), ``comparisons``, ``slices`` and ``forgetting`` of the first of them."""
    systems = {
        result.name: {"scale": result.scale} | {split: result.summary(split) for split in EVALUATED_SPLITS}
        for result in report.results
    }
    write_json(
        path,
        {
            "schema_version": METRICS_SCHEMA_VERSION,
            "headline": HEADLINE,
            "systems": systems,
            "comparisons": [comparison.as_dict() for comparison in report.comparisons],
            "slices": [asdict(part) for part in report.slices.slices] if report.slices else [],
            "forgetting": [asdict(found) | {"verdict": found.verdict} for found in report.forgetting],
        },
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


def metric_rows(results: Sequence[EvalResult], split: str) -> list[list[str]]:
    """Name and headline metrics (``LABELS``) of each system, as text; none without queries."""
    if not any(len(result.rows(split)) for result in results):
        return []
    rows = []
    for result in results:
        found = result.summary(split)["metrics"]
        # BM25 scores have no upper bound: beside cosines they would only mislead.
        shown = {name: found[name] if result.scale == "cosine" or "similarity" not in name else None for name in LABELS}
        rows.append([result.name, *(_number(shown[name], "–") for name in LABELS)])
    return rows


def _verdicts(report: RunReport) -> list[str]:
    if not report.comparisons:
        return []
    first, *others = map(verdict_line, report.comparisons)
    return [f"**{first}**", *map(sentence, evidence_lines(report)), *others, _HOW]


def sentence(text: str) -> str:
    """``text`` with a capital."""
    return text[:1].upper() + text[1:]


_HOW = (
    "In brackets: 95 % interval of the difference by paired bootstrap; p: paired randomisation test, two-sided; both "
    "draw whole patents. *better* and *worse* are said where both exclude chance at the 5 % level."
)


def headline(results: Sequence[EvalResult], split: str) -> str:
    """``test: 479 queries (cache) against the whole corpus``"""
    summary: dict[str, Any] = results[0].summary(split) if results else {"queries": 0, "sources": []}
    sources = f" ({', '.join(summary['sources'])})" if summary["sources"] else ""
    return f"{split}: {summary['queries']:,} queries{sources} against the whole corpus"


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
        [source, f"{part['queries']:,}", *(_number(slices[name][source]["metrics"][HEADLINE], "–") for name in slices)]
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
        values = (_number(entry.get(name), "–", 1 if name == "train_seconds" else 4) for name in present)
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


def _number(value: float | None, missing: str, digits: int = 4) -> str:
    return missing if value is None else f"{value:.{digits}f}"


def _fit(text: str, width: int, *, right: bool) -> str:
    """``text`` in exactly ``width`` columns."""
    text = cut(text, width)
    space = " " * (width - columns(text))
    return space + text if right else text + space
