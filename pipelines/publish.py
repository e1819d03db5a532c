"""The output folder at the end of a run: the model, its adapter and card, metrics, report, settings, summary."""

from __future__ import annotations

import shutil
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from patent_embed.artifacts import Artifact
from patent_embed.config.load import dump_config
from patent_embed.config.model import ABSTRACT
from patent_embed.config.settings import Config
from patent_embed.data.files import QUERY_CACHE_NAME
from patent_embed.encoder.bundled import BUNDLED
from patent_embed.encoder.model_folder import read_sentence_transformer_files
from patent_embed.errors import BaseStays
from patent_embed.evaluation.measure import EVALUATED_SPLITS
from patent_embed.folders import write_atomic, write_json
from patent_embed.hashing import folder_digest
from patent_embed.losses.base import LOSSES
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.loss_curve import loss_curve
from patent_embed.progress.terminal import say
from patent_embed.queries.cache import write_query_cache
from patent_embed.report.content import RunReport, evidence_lines, splits_of
from patent_embed.report.html import write_report_html
from patent_embed.report.markdown import write_report_md
from patent_embed.report.metrics_file import write_metrics
from patent_embed.report.model_card import ModelCard, write_model_card
from patent_embed.report.served import FILE as SERVED
from patent_embed.report.served import read_served, show_served
from patent_embed.report.terminal import comparison_table
from pipelines.delivery import published
from pipelines.engine import Output, Results
from pipelines.recipe import BASE, TUNED, Recipe
from pipelines.reporting import make_report
from pipelines.run_folder import BESIDE_RUN, PROGRESS, SETTINGS, SUMMARY
from pipelines.steps.choose import choice_of
from pipelines.steps.evaluate import BM25, load_result
from pipelines.steps.train import ADAPTER, MODEL

_PAIRS = (("test", TUNED, BASE), ("test", TUNED, BM25), ("test", BASE, BM25), ("val", TUNED, BASE))


def publish(output: Output, config: Config, recipe: Recipe, done: Results, watch: Stopwatch) -> None:
    """Write everything a user looks for into the output folder, and print the tables.

    Raises BaseStays in the end where the model is not among it. That of an earlier run then leaves the folder, too: it
    is not the one that the report tells of, and its own command brings it back.
    """
    trained = done[recipe.published] if recipe.published else None
    refusal = _refusal(config, trained) if trained is not None else ""
    with published(output, gone=(MODEL, ADAPTER) if trained else ()) as out:
        if trained is not None and not refusal:
            for name in (MODEL, ADAPTER):
                if trained.file(name).is_dir():
                    shutil.copytree(trained.file(name), out / name)
        if config.queries.export_cache:
            write_query_cache(out / QUERY_CACHE_NAME, done[recipe.tables.queries].table("queries"))
        systems = [load_result(name, done[step]) for name, step in recipe.systems.items()]
        report = make_report(config, done, recipe.tables.with_negatives(recipe.mined), systems, _PAIRS, trained)
        if trained is not None:
            report = replace(report, loss_curve=loss_curve(output.here / PROGRESS, trained.place.name))
        write_report(out, report)
        write_atomic(out / SETTINGS, dump_config(config).encode())
        if trained is not None and not refusal:
            write_model_card(out / MODEL, _card(out / MODEL, config, trained), report)
            if (served := read_served(output.here / SERVED, folder_digest(out / MODEL))) is not None:
                show_served(out, served)  # a repeated run publishes the model that programs were tried with
        seconds = watch.seconds
        write_json(out / SUMMARY, _summary(config, done, report, watch.began, seconds) | _vouched(out, output, trained))
    say_results(report)
    shown = config.run.output_dir.rstrip("/") + (f"/{BESIDE_RUN}" if output.beside else "")
    say(f"done in {duration(seconds)}")
    say(f"report  {shown}/report.html")
    if trained is not None and not refusal:
        say(f"model   {shown}/{MODEL}")
    if refusal:
        raise BaseStays(refusal)


def _refusal(config: Config, trained: Artifact) -> str:
    """Why the model of ``trained`` is not published; empty where it is."""
    if "choice" not in trained.report or config.run.publish == "always":
        return ""
    choice = choice_of(trained)
    return "" if choice.publishes else f"{choice.line()}; --set run.publish=always publishes it all the same"


def _vouched(out: Path, output: Output, trained: Artifact | None) -> dict[str, Any]:
    """Digests of what a summary belongs to: the folders that were trained, or the model that was measured."""
    where, names = (out, (MODEL, ADAPTER)) if trained else (output.here, (MODEL,))
    return {"published": {name: folder_digest(where / name) for name in names if (where / name).is_dir()}}


def write_report(out: Path, report: RunReport) -> None:
    """The figures of a run or a comparison, for programs and for people."""
    write_metrics(out / "metrics.json", report)
    write_report_md(out / "report.md", report)
    write_report_html(out / "report.html", report)


def say_results(report: RunReport) -> None:
    """The tables and verdicts of val and test, then what the slices and the general sentences say."""
    parts = [split for split in splits_of(report.results) if split not in EVALUATED_SPLITS]
    for split in (*parts, "test") if report.intervals else EVALUATED_SPLITS:  # a benchmark has no val
        say()
        compared = [c for c in report.comparisons if c.split == split and split not in parts]
        say(comparison_table(report.results, compared, split=split))
    for line in evidence_lines(report):
        say(textwrap.fill(line, 79, subsequent_indent="  "))
    say()


def _beyond_abstracts(config: Config) -> dict[str, str]:
    """What else than queries and abstracts the model was trained on: whoever uses it gives it the same texts."""
    view, weights = config.model.passage_view, config.relevance.weights()
    sources = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
    found = {"a passage is": view} if view != ABSTRACT else {}
    if (several := config.model.passages_per_patent) > 1:
        found["passages a patent, of which the best counts"] = str(several)
    return found | ({"sources of relevance, with weights": sources} if config.relevance.several else {})


def _card(folder: Path, config: Config, trained: Artifact) -> ModelCard:
    files = read_sentence_transformer_files(folder)
    name, training, loss = config.model.name, config.training, LOSSES[config.training.loss]
    is_hub_id = name.count("/") == 1 and not Path(name).exists()
    settings = {
        "loss": training.loss,
        **loss.described(loss.settings_of(training)),
        "learning rate": training.learning_rate,
        "batch size": training.batch_size,
        "epochs": f"{trained.manifest.rows['epochs']} (kept: {trained.report['kept_epoch']})",
        **({"weights": f"mean of {trained.report['mean_of']} trainings"} if "mean_of" in trained.report else {}),
        **({"base model's share": f"{choice_of(trained).share:g}"} if "choice" in trained.report else {}),
        "adaptation": f"LoRA r {training.lora.r}, alpha {training.lora.alpha}" if training.use_lora else "all weights",
        "negatives": f"{config.negatives.per_positive} a query, {config.negatives.strategy}"
        if training.mined_negatives
        else "the other passages of a batch",
        **_beyond_abstracts(config),
        "triplets": trained.manifest.rows["triplets"],
        "precision": trained.report["precision"],
    }
    assert files.pooling is not None  # an exported model says how it pools
    assert files.dim is not None
    return ModelCard(
        name="patent-embed",
        base_model=name if is_hub_id else "intfloat/multilingual-e5-small" if name in BUNDLED else None,
        pooling=files.pooling,
        query_prompt=files.prompts.get("query", ""),
        passage_prompt=files.prompts.get("passage", ""),
        dim=files.dim,
        dense=bool(files.dense),
        max_seq_length=files.max_seq_length or 512,
        training={key: str(value) for key, value in settings.items()},
    )


def _summary(config: Config, done: Results, report: RunReport, started: float, seconds: float) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(seconds, 1),
        "config": config.model_dump(mode="json"),
        "versions": dict(report.versions),
        "steps": {
            name: {
                "folder": step.artifact.place.name,
                "reused": step.reused,
                "seconds": step.artifact.manifest.seconds,
                "rows": step.artifact.manifest.rows,
                "rejects": step.artifact.manifest.rejects,
            }
            for name, step in done.by_name.items()
        },
        "verdicts": [comparison.as_dict() for comparison in report.comparisons],
    }
