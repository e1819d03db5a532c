"""Trainings on shares of what there is, measured on val: does more of it help?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ray

from patent_embed.artifacts import Artifact, ModelRef, Outcome
from patent_embed.config.model import ModelConfig
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from pipelines.engine import Context, Input, LocalModel, StepSpec, rate
from pipelines.resources import cluster_gpus
from pipelines.session import GPU_ENV
from pipelines.steps.embed import corpus_of, model_settings
from pipelines.steps.tables import Tables
from pipelines.steps.train import MODEL

if TYPE_CHECKING:
    from patent_embed.training.coverage import Unit
    from patent_embed.training.evidence import Evidence

NAME, PART = "coverage", "tokens-part"

Trained = tuple["Unit", float, StepSpec]
"""A training on a share of a unit."""


def part_step(config: Config, tokens: StepSpec, unit: Unit, share: float) -> StepSpec:
    """A share of what a training reads, for a training of its own; validation is on all of it."""
    seed = config.run.seed

    def work(context: Context) -> Outcome:
        from patent_embed.training.coverage import part_of
        from patent_embed.training.data import load_training_data, save_training_data

        whole = context.inputs["tokens"]
        data, val = load_training_data(whole.file("data"))
        part = part_of(data, unit, share, seed)
        save_training_data(context.folder / "data", part, val)
        return Outcome(rows={"triplets": len(part.triplets)}, report=whole.report)

    return StepSpec(
        name=f"{PART}-{_named(unit, share)}",
        version=1,
        settings={"unit": unit, "share": share, "seed": seed},
        inputs={"tokens": tokens},
        work=work,
        rate=rate,
    )


def coverage_step(config: Config, base: LocalModel, trained: Sequence[Trained], tables: Tables[Input]) -> StepSpec:
    """The val queries asked of ``base`` and of each of ``trained``."""
    from patent_embed.training import evidence

    named = {_named(unit, share): (unit, share) for unit, share, _ in trained}

    def work(context: Context) -> Outcome:
        from patent_embed.training.coverage import Curve

        found, models = _evidence(context, config), {"base": context.model("base")}
        models |= {name: ModelRef(context.inputs[name].address, MODEL) for name in named}
        values = {name: _measured(model, config.model, found) for name, model in models.items()}
        curves = []
        for unit in dict.fromkeys(unit for unit, _ in named.values()):
            mine = {share: values[name] for name, (of, share) in named.items() if of == unit}
            curves.append(Curve.of(unit, {0.0: values["base"]} | mine, found.asked.query_family, config.run.seed))
        return Outcome(rows={"queries": len(found.unseen)}, report={"curves": [each.as_json() for each in curves]})

    return StepSpec(
        name=NAME,
        version=1,
        settings=model_settings(config) | {"query_sources": config.training.query_sources, "seed": config.run.seed},
        inputs={"base": base, **{_named(unit, share): step for unit, share, step in trained}, **tables.inputs()},
        work=work,
        constants={"MOST_PATENTS": evidence.MOST_PATENTS, "OTHERS": evidence.OTHERS},
        notes=_notes,
        rate=rate,
    )


def _named(unit: str, share: float) -> str:
    return f"{unit}-{round(100 * share)}"


def _evidence(context: Context, config: Config) -> Evidence:
    from patent_embed.encoder.encoder import Encoder, without_bars
    from patent_embed.training.data import training_queries
    from patent_embed.training.evidence import build_evidence

    with without_bars():
        encoder = Encoder.load(context.model("base").folder(), config.model)
    corpus = corpus_of(context, config.model, "publication_number", "codes")
    splits, asked = context.table("splits"), context.table("queries")
    trained_on = training_queries(splits, asked, config.training.query_sources)
    found = build_evidence(encoder, corpus, splits, asked, trained_on)
    if not len(found.unseen):
        raise UserError(
            "the validation split has no queries, so nothing tells whether more would help; give it more patents "
            "(splits.val)"
        )
    return found


def _measured(model: ModelRef, config: ModelConfig, evidence: Evidence) -> Any:
    """nDCG@10 of each query, (q,)."""
    if not cluster_gpus():
        return _values(model, config, evidence, "cpu")
    on_gpu: Any = ray.remote(num_gpus=1, runtime_env={"env_vars": GPU_ENV})
    return ray.get(on_gpu(_values).remote(model, config, evidence, "cuda"))


def _values(model: ModelRef, config: ModelConfig, evidence: Any, device: str) -> Any:
    from patent_embed.encoder.encoder import Encoder, without_bars
    from patent_embed.training.validation import retrieval_ndcg

    with without_bars():
        return retrieval_ndcg(Encoder.load(model.folder(), config, device=device), evidence.asked)


def _notes(artifact: Artifact) -> list[str]:
    from patent_embed.training.coverage import curves_in

    return [line for curve in curves_in(artifact.report["curves"]) for line in curve.lines()]
