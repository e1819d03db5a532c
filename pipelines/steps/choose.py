"""The share of the base model in what is published, and whether anything is: ``training.base_share=auto``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import ray

from patent_embed.artifacts import Artifact, ModelRef, Outcome
from patent_embed.config.model import ModelConfig
from patent_embed.config.settings import Config
from patent_embed.training.choice import Choice
from pipelines.engine import Context, Input, LocalModel, StepSpec
from pipelines.resources import cluster_gpus
from pipelines.session import GPU_ENV
from pipelines.steps import relevance, tokens
from pipelines.steps.embed import corpus_of, model_settings
from pipelines.steps.judged import judgements_of
from pipelines.steps.tables import Tables
from pipelines.steps.train import ADAPTER, MODEL

if TYPE_CHECKING:
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.training.evidence import Evidence
    from patent_embed.training.pairs import Known

NAME = "choose"


def choose_step(
    config: Config,
    base: LocalModel,
    trained: StepSpec,
    tables: Tables[Input],
    mixed: tuple[Input, Input] | None = None,
) -> StepSpec:
    """``trained`` with the share of ``base`` that nothing speaks against: ``model/`` and, with LoRA, ``adapter/``.

    ``mixed``: the steps ``relevance`` and ``tokens``, where there is more than queries to learn from.
    """
    from patent_embed.training import choice, evidence

    settings: dict[str, Any] = {
        "use_lora": config.training.use_lora,
        "query_sources": config.training.query_sources,
        "seed": config.run.seed,
    }
    inputs: dict[str, Input] = {"trained": trained, "base": base, **tables.inputs()}
    if mixed is not None:
        settings |= {"weights": config.relevance.weights(), "validate_on": config.training.validate_on}
        inputs |= dict(zip((relevance.NAME, tokens.NAME), mixed, strict=True))
    return StepSpec(
        name=NAME,
        version=1,
        settings=model_settings(config) | settings,
        inputs=inputs,
        work=lambda context: _without_bars(context, config),
        constants={
            "SHARE_WRITTEN": choice.SHARE_WRITTEN,
            "SHARE_RULED": choice.SHARE_RULED,
            "LADDER": list(choice.LADDER),
            "CAUTION": choice.CAUTION,
            "MOST_PATENTS": evidence.MOST_PATENTS,
            "OTHERS": evidence.OTHERS,
        },
        notes=lambda artifact: [choice_of(artifact).line(always=config.run.publish == "always")],
    )


def choice_of(artifact: Artifact) -> Choice:
    """What the step decided."""
    return Choice.from_json(artifact.report["choice"])


def _without_bars(context: Context, config: Config) -> Outcome:
    from patent_embed.encoder.encoder import without_bars

    with without_bars():
        return _work(context, config)


def _work(context: Context, config: Config) -> Outcome:
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.encoder.export import export_model
    from patent_embed.training.data import training_families, training_queries
    from patent_embed.training.evidence import build_evidence
    from patent_embed.training.published import Mixed, mix_adapter

    base, trained = context.model("base"), context.inputs["trained"]
    corpus = corpus_of(context, config.model, "publication_number", "codes")
    splits, asked = context.table("splits"), context.table("queries")
    encoder = Encoder.load(base.folder(), config.model)
    trained_on = training_queries(splits, asked, config.training.query_sources)
    evidence = build_evidence(encoder, corpus, splits, asked, trained_on)
    if relevance.NAME in context.inputs:
        family = training_families(splits, trained_on, judgements_of(context.inputs["queries"]))
        evidence = _of_mixture(context, config, encoder, evidence, relevance.known_of(context, corpus, family))
    arguments = (base, ModelRef(trained.address, MODEL), config.model, evidence, config.run.seed)
    if cluster_gpus():
        on_gpu: Any = ray.remote(num_gpus=1, runtime_env={"env_vars": GPU_ENV})
        task = on_gpu(_choose)
        found: Choice = ray.get(task.remote(*arguments, device="cuda"))
    else:
        found = _choose(*arguments, device="cpu")
    mixed = Mixed(encoder, Encoder.load(trained.file(MODEL), config.model))
    export_model(mixed.at(found.share), context.folder / MODEL)
    if config.training.use_lora:
        mix_adapter(trained.file(ADAPTER), context.folder / ADAPTER, found.share)
    return Outcome(rows=trained.manifest.rows, report=trained.report | {"choice": found.as_json()})


def _of_mixture(context: Context, config: Config, encoder: Encoder, evidence: Evidence, known: Known) -> Evidence:
    """What is asked after a training on several sources: links, where they judged its epochs, too."""
    from patent_embed.training.evidence import linked_evidence
    from patent_embed.training.pairs import rule_share

    triplets = context.inputs[tokens.NAME].report["triplets"]
    evidence = replace(evidence, ruled=rule_share(evidence.ruled, triplets, config.relevance.weights()))
    if config.training.validate_on == "queries":
        return evidence
    return linked_evidence(encoder, known, evidence, tokens.validation_limit(config))


def _choose(base: ModelRef, trained: ModelRef, config: ModelConfig, evidence: Any, seed: int, *, device: str) -> Choice:
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.training.choice import choose_share
    from patent_embed.training.evidence import measure
    from patent_embed.training.published import Mixed

    mixed = Mixed(*(Encoder.load(each.folder(), config, device=device) for each in (base, trained)))
    return choose_share(lambda share: measure(mixed.at(share), evidence), evidence, seed)
