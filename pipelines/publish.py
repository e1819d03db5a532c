"""The output folder at the end of a run: the model, its adapter and card, metrics, report, settings, summary."""

from __future__ import annotations

import json
import platform
import shutil
import textwrap
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from patent_embed import __version__
from patent_embed.artifacts import Artifact, open_artifact
from patent_embed.config.load import dump_config
from patent_embed.config.settings import Config
from patent_embed.data.records import QUERY_CACHE_NAME
from patent_embed.encoder.model_folder import read_sentence_transformer_files
from patent_embed.evaluation.comparison import Comparison, compare
from patent_embed.evaluation.forgetting import compare_general
from patent_embed.evaluation.measure import EvalResult
from patent_embed.evaluation.rank_changes import rank_changes
from patent_embed.evaluation.slices import compare_slices, query_labels
from patent_embed.folders import RemoteFolder, is_remote, write_atomic, write_json
from patent_embed.progress.clock import duration
from patent_embed.progress.loss_curve import loss_curve
from patent_embed.progress.terminal import say
from patent_embed.queries.cache import write_query_cache
from patent_embed.report.content import RunReport, evidence_lines
from patent_embed.report.html import write_report_html
from patent_embed.report.markdown import write_report_md
from patent_embed.report.metrics_file import write_metrics
from patent_embed.report.model_card import ModelCard, write_model_card
from patent_embed.report.terminal import comparison_table
from pipelines.steps.evaluate import load_result

MODEL, ADAPTER, SUMMARY, PROGRESS = "model", "adapter", "run_summary.json", "progress.jsonl"
_SYSTEMS = ("bm25", "base", "tuned")
_PAIRS = (("test", "tuned", "base"), ("test", "tuned", "bm25"), ("test", "base", "bm25"), ("val", "tuned", "base"))
_PACKAGES = ("ray", "torch", "transformers", "sentence-transformers", "peft", "pyarrow", "numpy")


def publish(
    out: Path, config: Config, artifacts: Mapping[str, Artifact], reused: Collection[str], started: float
) -> RunReport:
    """Write everything a user looks for into ``out``, and print the tables."""
    trained = artifacts.get("train")
    if trained is not None:
        for name in (MODEL, ADAPTER):
            replace_folder(trained.file(name), out / name)
    if config.queries.export_cache:
        write_query_cache(out / QUERY_CACHE_NAME, artifacts["queries"].table("queries"))
    measured = [name for name in _SYSTEMS if f"evaluate-{name}" in artifacts]
    results = [load_result(name, artifacts[f"evaluate-{name}"]) for name in measured]
    report = make_report(config, artifacts, reused, results, _PAIRS)
    if trained is not None:
        report = replace(report, loss_curve=loss_curve(out / PROGRESS, trained.path.name))
    write_report(out, report)
    write_atomic(out / "config.yaml", dump_config(config).encode())
    if trained is not None:
        write_model_card(out / MODEL, _card(out / MODEL, config, trained), report)
    seconds = time.time() - started
    write_json(out / SUMMARY, _summary(config, artifacts, reused, report, started, seconds))
    say_results(report)
    shown = config.run.output_dir.rstrip("/")
    say(f"done in {duration(seconds)}")
    say(f"report  {shown}/report.html")
    if trained:
        say(f"model   {shown}/{MODEL}")
    return report


def write_report(out: Path, report: RunReport) -> None:
    """The figures of a run or a comparison, for programs and for people."""
    write_metrics(out / "metrics.json", report)
    write_report_md(out / "report.md", report)
    write_report_html(out / "report.html", report)


def say_results(report: RunReport) -> None:
    """The tables and verdicts of val and test, then what the slices and the general sentences say."""
    for split in ("val", "test"):
        say()
        say(comparison_table(report.results, [c for c in report.comparisons if c.split == split], split=split))
    for line in evidence_lines(report):
        say(textwrap.fill(line, 79, subsequent_indent="  "))
    say()


def open_run(output_dir: str) -> tuple[Config, dict[str, Artifact]] | None:
    """Settings and finished steps of the run whose output folder this is; None where no run has finished there.

    The steps are found by the run's summary: the data folder need not be there any more.
    """
    if is_remote(output_dir):
        place: Path | RemoteFolder = RemoteFolder(output_dir)
        content = place.read(SUMMARY)
    else:
        place = Path(output_dir).resolve()
        content = (place / SUMMARY).read_bytes() if (place / SUMMARY).is_file() else None
    if content is None:
        return None
    summary = json.loads(content)
    steps = {name: open_artifact(place / "steps" / step["folder"]) for name, step in summary["steps"].items()}
    return Config.model_validate(summary["config"]), steps


def upload(out: Path, remote: RemoteFolder) -> None:
    """Copy what a user looks for to the store; the summary comes last and says that the rest is there."""
    for name in (MODEL, ADAPTER, SUMMARY):
        remote.delete(name)
    names = [path.name for path in out.iterdir() if path.name not in (SUMMARY, "steps")]
    for name in [*sorted(names), SUMMARY]:
        remote.put(out / name, name)


def stage_notes(name: str, artifact: Artifact) -> list[str]:
    """Lines below a finished step that a user wants to see without opening a file."""
    report, rejects = artifact.report, artifact.manifest.rejects
    if name in ("ingest", "texts"):
        lines = [f"{count:,} rejected: {reason}" for reason, count in rejects.items()]
        lines += [f"rejects with file names: {artifact.address}/rejects.parquet"] if rejects else []
        if cut := report.get("cut_abstracts"):
            lines.append(f"{cut:,} abstracts cut at the length limit")
        return lines
    if name == "splits":
        return [f"{report['families']:,} families"]
    if name == "queries":
        lines = ["by source: " + _counts(report["sources"])]
        if report.get("generated") or report.get("reused_answers"):
            lines.append(f"{report['generated']:,} answers generated, {report['reused_answers']:,} reused")
        if tokens := report.get("tokens"):
            lines.append("tokens used: " + _counts(tokens))
        if refused := report.get("rejected_answers"):
            lines.append("rejected answers: " + _counts(refused))
        if failed := report.get("errors"):
            lines.append("requests that failed: " + _counts(failed))
        if rejects:
            lines.append(f"{sum(rejects.values()):,} patents without a query: " + _counts(rejects))
        if strangers := report.get("cache_without_patent"):
            lines.append(f"{strangers:,} cached queries belong to no patent here")
        return lines
    if name.startswith("negatives"):
        lines = ["by rung: " + _counts(report["rungs"])]
        if refused := {reason: count for reason, count in report.get("filtered", {}).items() if count}:
            lines.append("refused: " + _counts(refused))
        if short := report["shortfall"]:
            none = report["anchors_without_negatives"]
            lines.append(f"{sum(short.values()):,} patents got fewer than asked for, {none:,} of them none")
        return lines
    if "mean_of" in report:
        return [f"mean weights of {report['mean_of']} trainings"]
    if name.startswith("train"):
        return [f"epoch {report['kept_epoch']} kept" + (", stopped early" if report["stopped_early"] else "")]
    return []


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def make_report(
    config: Config,
    artifacts: Mapping[str, Artifact],
    reused: Collection[str],
    results: list[EvalResult],
    pairs: Iterable[tuple[str, str, str]],
) -> RunReport:
    """What a report is made of. ``pairs``: the split, the system and its baseline of each comparison; the first one is
    the verdict, and those not measured are left out."""
    by_name = {result.name: result for result in results}
    comparisons = [
        found
        for split, system, baseline in pairs
        if system in by_name and baseline in by_name
        if (found := compare(by_name[system], by_name[baseline], split=split, seed=config.run.seed))
    ]
    trained = artifacts.get("train")
    ingested, splits = artifacts["ingest"].manifest, artifacts["splits"]
    return RunReport(
        results=results,
        comparisons=comparisons,
        **(_evidence(comparisons[0], by_name, artifacts, config.run.seed) if comparisons else {}),
        data=ingested.rows | {"families": splits.report["families"]},
        rejects=ingested.rejects,
        splits=splits.manifest.rows,
        query_sources=artifacts["queries"].report["sources"],
        queries=artifacts["queries"].report,
        negatives=artifacts.get("negatives-scored", artifacts["negatives"]).report,
        history=trained.report["history"] if trained else (),
        kept_epoch=trained.report["kept_epoch"] if trained else None,
        timings={name: artifact.manifest.seconds for name, artifact in artifacts.items()},
        throughput={name: rate for name, artifact in artifacts.items() if (rate := _throughput(name, artifact))},
        reused=reused,
        settings=config.model_dump(mode="json"),
        versions=versions(),
    )


def _evidence(
    verdict: Comparison, results: Mapping[str, EvalResult], artifacts: Mapping[str, Artifact], seed: int
) -> dict[str, Any]:
    """What stands behind the verdict: slices, queries that moved, and general sentences."""
    system, baseline = results[verdict.system], results[verdict.baseline]
    corpus, splits = artifacts["ingest"].table("corpus"), artifacts["splits"].table("splits")
    queries = artifacts["queries"].table("queries")
    labels = query_labels(system.per_query, queries, corpus, splits)
    others = [result for name, result in results.items() if name not in (system.name, baseline.name)]
    found = {
        "slices": compare_slices(system, baseline, labels, split=verdict.split, others=others, seed=seed),
        "changes": rank_changes(system, baseline, queries, corpus, split=verdict.split),
    }
    if system.general is None or baseline.general is None:  # BM25 has no opinion on them
        return found
    general = compare_general(system.name, baseline.name, system.general, baseline.general, seed=seed)
    return found | {"forgetting": general}


def _throughput(name: str, artifact: Artifact) -> str:
    """Rows a second of a step, of training the triplets while it trained."""
    report, rows, seconds = artifact.report, artifact.manifest.rows, artifact.manifest.seconds
    if "mean_of" in report:  # its trainings have steps of their own
        return ""
    if "texts_per_s" in report:
        return f"{report['texts_per_s']:,.0f} texts/s"
    if "history" in report:
        seconds = sum(epoch.get("train_seconds", 0.0) for epoch in report["history"])
        rows = {"triplets": rows["triplets"] * rows["epochs"]}
    elif name == "splits":
        rows = {"patents": sum(rows.values())}
    kind = max(rows, key=lambda kind: rows[kind], default="")
    if not kind or not seconds:
        return ""
    rate = rows[kind] / seconds
    return f"{rate:,.{0 if rate >= 10 else 1}f} {kind.replace('_', ' ')}/s"


def _card(folder: Path, config: Config, trained: Artifact) -> ModelCard:
    files = read_sentence_transformer_files(folder)
    transformer = json.loads((files.transformer / "config.json").read_text(encoding="utf-8"))
    name, training = config.model.name, config.training
    is_hub_id = name.count("/") == 1 and not Path(name).exists()
    settings = {
        "loss": training.loss,
        **({"distance": training.distance, "margin": training.margin} if training.loss == "triplet" else {}),
        **({"temperature": training.temperature} if training.loss == "infonce" else {}),
        "learning rate": training.learning_rate,
        "batch size": training.batch_size,
        "epochs": f"{trained.manifest.rows['epochs']} (kept: {trained.report['kept_epoch']})",
        **({"weights": f"mean of {trained.report['mean_of']} trainings"} if "mean_of" in trained.report else {}),
        "adaptation": f"LoRA r {training.lora.r}, alpha {training.lora.alpha}" if training.use_lora else "all weights",
        "negatives": f"{config.negatives.per_positive} a query, {config.negatives.strategy}",
        "triplets": trained.manifest.rows["triplets"],
        "precision": trained.report["precision"],
    }
    assert files.pooling is not None  # an exported model says how it pools
    return ModelCard(
        name="patent-embed",
        base_model=name if is_hub_id else "intfloat/multilingual-e5-small" if name == "bundled" else None,
        pooling=files.pooling,
        query_prompt=files.prompts.get("query", ""),
        passage_prompt=files.prompts.get("passage", ""),
        dim=int(transformer["hidden_size"]),
        max_seq_length=files.max_seq_length or 512,
        training={key: str(value) for key, value in settings.items()},
    )


def _summary(
    config: Config,
    artifacts: Mapping[str, Artifact],
    reused: Collection[str],
    report: RunReport,
    started: float,
    seconds: float,
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(seconds, 1),
        "config": config.model_dump(mode="json"),
        "versions": dict(report.versions),
        "steps": {
            name: {
                "folder": artifact.path.name,
                "reused": name in reused,
                "seconds": artifact.manifest.seconds,
                "rows": artifact.manifest.rows,
                "rejects": artifact.manifest.rejects,
            }
            for name, artifact in artifacts.items()
        },
        "verdicts": [comparison.as_dict() for comparison in report.comparisons],
    }


def versions(packages: Iterable[str] = _PACKAGES) -> dict[str, str]:
    """Of this program and of what it stands on."""
    found = {"patent-embed": __version__, "python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # carried along without its metadata, or not installed
            found[package] = "unknown"
    return found


def replace_folder(source: Path, target: Path) -> None:
    """Make ``target`` a copy of ``source``; it is absent for a moment, never half."""
    if not source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        return
    fresh, old = target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(source, fresh)
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    shutil.rmtree(old, ignore_errors=True)
