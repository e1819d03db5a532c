"""What a report is made of, from the artifacts of a run or a comparison."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pyarrow as pa

from patent_embed import __version__
from patent_embed.artifacts import Artifact
from patent_embed.benchmark.tables import Benchmark
from patent_embed.config.settings import Config
from patent_embed.evaluation.comparison import Comparison, compare
from patent_embed.evaluation.forgetting import compare_general
from patent_embed.evaluation.measure import EvalResult
from patent_embed.evaluation.rank_changes import rank_changes
from patent_embed.evaluation.rankings import mean_intervals
from patent_embed.evaluation.slices import compare_slices, query_labels
from patent_embed.report.content import RunReport
from pipelines.engine import Input, Results
from pipelines.steps.choose import choice_of
from pipelines.steps.tables import Tables
from pipelines.steps.tokens import NAME as TOKENS

INTERVALS = ("ndcg@10", "recall@100")  # metrics of a benchmark that are shown with intervals
BENCHMARK_RELEVANCE = (
    "What the benchmark grades 1 or more counts as a right answer, and the grades are the gains of nDCG, as in "
    "trec_eval. A part, such as test_in, judges the same rankings by some of the right answers; the others count as "
    "wrong there."
)
_PACKAGES = ("ray", "torch", "transformers", "sentence-transformers", "peft", "pyarrow", "numpy")


def make_report(
    config: Config,
    done: Results,
    tables: Tables[Input],
    systems: list[EvalResult],
    pairs: Iterable[tuple[str, str, str]],
    trained: Artifact | None = None,
) -> RunReport:
    """What a report is made of.

    Args:
        tables: what the systems were measured on; its negatives are those that are shown.
        pairs: the split, the system and its baseline of each comparison; the first one is the verdict, and those not
            measured are left out.
        trained: the training whose model is among the systems.
    """
    by_name = {result.name: result for result in systems}
    comparisons = [
        found
        for split, system, baseline in pairs
        if system in by_name and baseline in by_name
        if (found := compare(by_name[system], by_name[baseline], split=split, seed=config.run.seed))
    ]
    ingest, splits, queries = (done[each] for each in (tables.ingest, tables.splits, tables.queries))
    steps = done.by_name
    return RunReport(
        results=systems,
        comparisons=comparisons,
        **(_evidence(comparisons[0], by_name, (ingest, splits, queries), config.run.seed) if comparisons else {}),
        data=ingest.manifest.rows | {"families": splits.report["families"]},
        rejects=ingest.manifest.rejects,
        splits=splits.manifest.rows,
        query_sources=queries.report["sources"],
        queries=queries.report,
        negatives=done[tables.negatives].report,
        **_training(steps[TOKENS].artifact if trained and TOKENS in steps else None),
        history=trained.report["history"] if trained else (),
        kept_epoch=trained.report["kept_epoch"] if trained else None,
        choice=choice_of(trained).line(always=config.run.publish == "always")
        if trained and "choice" in trained.report
        else "",
        timings={name: step.artifact.manifest.seconds for name, step in steps.items()},
        throughput={name: step.rate for name, step in steps.items() if step.rate},
        reused={name for name, step in steps.items() if step.reused},
        settings=config.model_dump(mode="json"),
        versions=versions(),
    )


def benchmark_report(
    config: Config,
    done: Results,
    found: Benchmark,
    systems: list[EvalResult],
    pairs: Iterable[tuple[str, str, str]],
) -> RunReport:
    """What a report of the benchmark ``found`` is made of.

    Args:
        pairs: the split, the system and its baseline of each comparison; the first one is the verdict.
    """
    seed = config.run.seed
    by_name = {result.name: result for result in systems}
    comparisons = [
        each
        for split, system, baseline in pairs
        if (each := compare(by_name[system], by_name[baseline], split=split, seed=seed))
    ]
    kinds = Counter(found.queries["kind"].to_pylist())
    return RunReport(
        results=systems,
        comparisons=comparisons,
        **(_benchmark_evidence(comparisons[0], by_name, found, seed) if comparisons else {}),
        intervals=[each for result in systems for each in mean_intervals(result, INTERVALS, seed)],
        relevance=BENCHMARK_RELEVANCE,
        data={"documents": len(found.documents), "queries": len(found.queries), "judgements": len(found.qrels)},
        rejects=found.dropped,
        query_sources=kinds,
        timings={name: step.artifact.manifest.seconds for name, step in done.by_name.items()},
        throughput={name: step.rate for name, step in done.by_name.items() if step.rate},
        reused={name for name, step in done.by_name.items() if step.reused},
        settings=config.model_dump(mode="json"),
        versions=versions(),
    )


def _benchmark_evidence(
    verdict: Comparison, results: Mapping[str, EvalResult], found: Benchmark, seed: int
) -> dict[str, Any]:
    """What stands behind the verdict on a benchmark: slices by what it says of its queries, and general sentences."""
    system, baseline = results[verdict.system], results[verdict.baseline]
    row = pa.array(system.per_query["query_no"])
    labels = {
        {"kind": "query kind"}.get(name, name): np.asarray(found.queries[name].take(row).to_pylist(), object)
        for name in ("kind", *found.labels)
    }
    others = [result for name, result in results.items() if name not in (system.name, baseline.name)]
    slices = compare_slices(system, baseline, labels, split=verdict.split, others=others, seed=seed)
    return {"slices": slices} | _general(system, baseline, seed)


def _training(tokens: Artifact | None) -> dict[str, Any]:
    """What the training read, as its last ``tokens`` step counted it; nothing where an earlier program made that."""
    if tokens is None or "contamination" not in tokens.report:
        return {}
    counted, cut = tokens.report["contamination"], tokens.report["cut"]
    texts = {
        "all": counted["texts"],
        "of families in val or test": counted["held_out_texts"],
        "families in two splits": counted["families_in_two_splits"],
        _longer(cut): cut["longer"],
    }
    return {
        "training_texts": texts,
        "training_triplets": tokens.report.get("triplets", {}),
        "validation": tokens.report.get("validation", {}),
    }


def _longer(cut: Mapping[str, int]) -> str:
    several = f"{cut['passages_per_patent']} passages of " if "passages_per_patent" in cut else ""
    return f"longer than {several}{cut['read_at_most']} tokens, of {cut['passages']:,} passages"


def _evidence(
    verdict: Comparison, results: Mapping[str, EvalResult], data: tuple[Artifact, Artifact, Artifact], seed: int
) -> dict[str, Any]:
    """What stands behind the verdict: slices, queries that moved, and general sentences. ``data``: corpus, splits and
    queries."""
    system, baseline = results[verdict.system], results[verdict.baseline]
    corpus = data[0].table("corpus", "publication_number", "title", "abstract", "codes", "language")
    splits, queries = data[1].table("splits"), data[2].table("queries")
    labels = query_labels(system.per_query, queries, corpus, splits)
    others = [result for name, result in results.items() if name not in (system.name, baseline.name)]
    found = {
        "slices": compare_slices(system, baseline, labels, split=verdict.split, others=others, seed=seed),
        "changes": rank_changes(system, baseline, queries, corpus, split=verdict.split),
    }
    return found | _general(system, baseline, seed)


def _general(system: EvalResult, baseline: EvalResult, seed: int) -> dict[str, Any]:
    """General sentences; nothing where a system has no opinion on them, as BM25."""
    if system.general is None or baseline.general is None:
        return {}
    return {"forgetting": compare_general(system.name, baseline.name, system.general, baseline.general, seed=seed)}


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Of this program and of what it stands on."""
    found = {"patent-embed": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # carried along without its metadata, or not installed
            found[package] = "unknown"
    return found
