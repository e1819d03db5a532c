"""What a report is made of, and its sentences."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from patent_embed.evaluation.comparison import Comparison
from patent_embed.evaluation.forgetting import LANGUAGES, Forgetting
from patent_embed.evaluation.measure import EvalResult
from patent_embed.evaluation.rank_changes import RankChanges
from patent_embed.evaluation.slices import ENOUGH_FOR_A_SLICE, SliceReport

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


def metric_rows(results: Sequence[EvalResult], split: str) -> list[list[str]]:
    """Name and headline metrics (``LABELS``) of each system, as text; none without queries."""
    if not any(len(result.rows(split)) for result in results):
        return []
    rows = []
    for result in results:
        found = result.summary(split)["metrics"]
        # BM25 scores have no upper bound: beside cosines they would only mislead.
        shown = {name: found[name] if result.scale == "cosine" or "similarity" not in name else None for name in LABELS}
        rows.append([result.name, *(number(shown[name], "–") for name in LABELS)])
    return rows


def sentence(text: str) -> str:
    """``text`` with a capital."""
    return text[:1].upper() + text[1:]


def headline(results: Sequence[EvalResult], split: str) -> str:
    """``test: 479 queries (cache) against the whole corpus``"""
    summary: dict[str, Any] = results[0].summary(split) if results else {"queries": 0, "sources": []}
    sources = f" ({', '.join(summary['sources'])})" if summary["sources"] else ""
    return f"{split}: {summary['queries']:,} queries{sources} against the whole corpus"


def number(value: float | None, missing: str, digits: int = 4) -> str:
    return missing if value is None else f"{value:.{digits}f}"
