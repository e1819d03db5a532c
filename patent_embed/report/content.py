"""What a report is made of; the sentences and rows of it that the terminal, report.md and report.html share."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from patent_embed.evaluation.comparison import Comparison
from patent_embed.evaluation.forgetting import LANGUAGES, Forgetting
from patent_embed.evaluation.measure import EVALUATED_SPLITS, HEADLINE, EvalResult
from patent_embed.evaluation.rank_changes import RankChanges
from patent_embed.evaluation.rankings import MeanInterval
from patent_embed.evaluation.slices import ENOUGH_FOR_A_SLICE, SliceReport
from patent_embed.progress.clock import duration
from patent_embed.queries.grading import judge_lines

LABELS = {
    "ndcg@10": "nDCG@10",
    "ndcg@100": "nDCG@100",
    "mrr@10": "MRR@10",
    "mrr@1000": "MRR",
    "map@50": "MAP@50",
    "map@1000": "MAP",
    "recall@1": "R@1",
    "recall@5": "R@5",
    "recall@10": "R@10",
    "recall@50": "R@50",
    "recall@100": "R@100",
    "recall@1000": "R@1000",
    "graded_ndcg@10": "IPC nDCG@10",
    "triplet_accuracy": "triplets",
    "positive_similarity": "cos pos.",
    "negative_similarity": "cos neg.",
}
"""The headline metrics in the order of their columns, and how each is called there."""


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
        training_triplets: by source, where there is more than queries to learn from.
        training_texts: what is read in training: ``{"all": 9120, "of families in val or test": 0, ...}``.
        history: an entry an epoch with ``epoch`` and any of ``loss``, ``val_ndcg@10``, ``train_seconds``; epoch 0 is
            the model before training.
        kept_epoch: whose weights were kept.
        validation: what val was searched in after each epoch: ``candidates`` of the corpus' ``patents``, and, where a
            limit was set, ``most`` and the ``seed`` of the draw.
        intervals: of the systems on a benchmark: their means with intervals.
        relevance: what counts as a right answer, in a sentence; empty: a query's own patent and its family.
        choice: how much of the base model is in what is published, or why nothing is, in a sentence.
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
    training_triplets: Mapping[str, int] = field(default_factory=dict)
    training_texts: Mapping[str, int] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    kept_epoch: int | None = None
    validation: Mapping[str, int] = field(default_factory=dict)
    intervals: Sequence[MeanInterval] = ()
    relevance: str = ""
    choice: str = ""
    loss_curve: Sequence[tuple[int, float]] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    throughput: Mapping[str, str] = field(default_factory=dict)
    reused: Collection[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """Rows of text below a header; all columns but the first are numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def verdict_line(comparison: Comparison) -> str:
    """The sentence that a report begins with.

    ``tuned is better than base on test nDCG@10: 0.755 → 0.852, +0.097 [+0.080, +0.110], p < 0.001, 180 queries``
    """
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
    """A p-value as text: ``p = 0.023``, ``p < 0.001``."""
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
    """What stands beside the verdict: the slices, the general sentences, and what is published."""
    slices = [slices_line(report.slices)] if report.slices else []
    return [*slices, *map(forgetting_line, report.forgetting[:1]), *filter(None, [report.choice])]


def sentence(text: str) -> str:
    """``text`` with a capital."""
    return text[:1].upper() + text[1:]


def headline(results: Sequence[EvalResult], split: str) -> str:
    """What the results of a split stand on: ``test: 479 queries (cache) against the whole corpus``."""
    summary: dict[str, Any] = results[0].summary(split) if results else {"queries": 0, "sources": []}
    sources = f" ({', '.join(summary['sources'])})" if summary["sources"] else ""
    return f"{split}: {summary['queries']:,} queries{sources} against the whole corpus"


def number(value: float | None, missing: str, digits: int = 4) -> str:
    """A figure as text, or ``missing`` where there is none."""
    return missing if value is None else f"{value:.{digits}f}"


def result_tables(results: Sequence[EvalResult]) -> list[Table]:
    """All headline metrics of each system: a table a split that has queries, test first."""
    return [table for split in splits_of(results) if (table := result_table(results, split))]


def result_table(results: Sequence[EvalResult], split: str) -> Table | None:
    """Name and headline metrics of each system on ``split``; None without queries."""
    if not any(len(result.rows(split)) for result in results):
        return None
    summaries = [result.summary(split)["metrics"] for result in results]
    rows, measured = [], metrics_of(summaries)
    for result, found in zip(results, summaries, strict=True):
        # BM25 scores have no upper bound: beside cosines they would only mislead.
        shown = {name: found[name] if result.scale == "cosine" or "similarity" not in name else None for name in found}
        rows.append([result.name, *(number(shown.get(name), "–") for name in measured)])
    return Table(headline(results, split), ["", *(LABELS[name] for name in measured)], rows)


def metrics_of(summaries: Iterable[Mapping[str, float | None]]) -> list[str]:
    """The metrics of ``EvalResult.summary`` that were measured, in the order of their columns."""
    found = {name for metrics in summaries for name in metrics}
    return [name for name in LABELS if name in found]


def splits_of(results: Sequence[EvalResult]) -> list[str]:
    """What the results are of: test, val, then the parts of a benchmark."""
    parts = dict.fromkeys(split for result in results for split in result.splits)
    return [*reversed(EVALUATED_SPLITS), *(split for split in parts if split not in EVALUATED_SPLITS)]


def interval_tables(intervals: Sequence[MeanInterval]) -> list[Table]:
    """Means with their intervals: a table a metric, a row a system, a column a split."""
    tables = []
    for metric in dict.fromkeys(each.metric for each in intervals):
        mine = [each for each in intervals if each.metric == metric]
        splits = {each.split: each.queries for each in mine}
        cells = {(each.system, each.split): f"{each.mean:.4f} [{each.low:.4f}, {each.high:.4f}]" for each in mine}
        rows = [
            [system, *(cells.get((system, split), "–") for split in splits)]
            for system in dict.fromkeys(each.system for each in mine)
        ]
        header = ["", *(f"{split}, {queries:,} queries" for split, queries in splits.items())]
        tables.append(Table(f"{LABELS[metric]} with 95 % intervals", header, rows))
    return tables


def source_tables(results: Sequence[EvalResult]) -> list[Table]:
    """nDCG@10 by query source: a table a split that has more than one, test first."""
    tables = []
    for split in splits_of(results):
        slices = {result.name: result.summary(split)["by_source"] for result in results}
        sources: dict[str, Any] = next(iter(slices.values()), {})
        if len(sources) < 2:
            continue
        rows = [
            [
                name,
                f"{part['queries']:,}",
                *(number(found[name]["metrics"][HEADLINE], "–") for found in slices.values()),
            ]
            for name, part in sources.items()
        ]
        note = "Rule queries are lifted from the abstracts and reward word overlap." if "rules" in sources else ""
        title = f"{split}: {LABELS[HEADLINE]} by query source"
        tables.append(Table(title, ["source", "queries", *slices], rows, note))
    return tables


def slice_table(found: SliceReport | None) -> Table | None:
    """The slices with enough queries to be tested; None without any."""
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
        return None
    header = ["slice", "queries", found.baseline, found.system, "difference", "95 % interval", "adjusted p", ""]
    return Table(f"{found.split}: {LABELS[HEADLINE]} by slice", header, rows)


def history_table(report: RunReport) -> Table | None:
    """What is known of each epoch of the training; None without one."""
    if not report.history:
        return None
    columns = {"loss": "loss", "val_ndcg@10": "val nDCG@10", "train_seconds": "seconds"}
    present = [name for name in columns if any(name in entry for entry in report.history)]
    rows = []
    for entry in report.history:
        epoch = f"{entry['epoch']:g}" + (" (kept)" if entry["epoch"] == report.kept_epoch else "")
        values = (number(entry.get(name), "–", 1 if name == "train_seconds" else 4) for name in present)
        rows.append([epoch, *values])
    return Table("Training", ["epoch", *(columns[name] for name in present)], rows, validation_line(report))


def validation_line(report: RunReport) -> str:
    """What val was searched in after each epoch, in a sentence; empty where nothing was counted."""
    found = report.validation
    if not found.get("candidates"):
        return ""
    drawn = found["candidates"] >= found.get("most", found["candidates"] + 1)
    how = f", drawn by a hash with seed {found['seed']} (training.validation_patents)" if drawn else ""
    return (
        f"In training, val is searched in {found['candidates']:,} of {found['patents']:,} patents: those of val, and "
        f"others of the main groups asked for{how}."
    )


def time_table(report: RunReport) -> Table | None:
    """What each step took; None without steps."""
    rows = [
        [step + (" (reused)" if step in report.reused else ""), duration(seconds)]
        for step, seconds in report.timings.items()
    ]
    return Table("Time", ["step", "took"], rows) if rows else None


def score_table(negatives: Mapping[str, Any]) -> Table | None:
    """Quantiles of the scores to the query that right answers and negatives have; None where nothing was scored."""
    scores = negatives.get("scores")
    if not scores:
        return None
    quantiles = list(scores["positive"])
    rows = [[name, *(f"{scores[name].get(q, math.nan):.3f}" for q in quantiles)] for name in scores]
    return Table("Scores to the query, by quantile:", ["", *quantiles], rows)


def shortfall(negatives: Mapping[str, Any]) -> dict[str, int]:
    """Anchors with fewer negatives than asked for: ``{"1 missing": 3}``."""
    return {f"{missing} missing": anchors for missing, anchors in negatives.get("shortfall", {}).items()}


def answer_counts(queries: Mapping[str, Any]) -> dict[str, int]:
    """What became of a model's answers: how many were accepted, and rejected for each reason."""
    rejected = {f"rejected: {name}": count for name, count in queries["rejected_answers"].items()}
    return {"accepted": queries["accepted_answers"], **rejected}


def judge_notes(report: RunReport) -> list[str]:
    """What a judge said of queries and of negatives, where one was asked."""
    lines = [*judge_lines(report.queries.get("judge")), *judge_lines(report.negatives.get("judge"))]
    return list(dict.fromkeys(map(sentence, lines)))


def settings_text(report: RunReport) -> str:
    """The settings as YAML; empty without any."""
    return yaml.safe_dump(dict(report.settings), allow_unicode=True, sort_keys=False) if report.settings else ""


def versions_text(versions: Mapping[str, str]) -> str:
    """Versions in a line: ``torch 2.13, ray 2.60``."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())
