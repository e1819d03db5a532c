"""Which steps a run consists of, and what each is made from. How a step works stands in its own file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from patent_embed.config.settings import Config
from patent_embed.data.inputs import find_input
from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from patent_embed.queries.cache import find_query_cache
from pipelines.engine import Input, LocalModel, StepSpec
from pipelines.steps.choose import choose_step
from pipelines.steps.embed import embed_step
from pipelines.steps.evaluate import BM25, bm25_step, evaluate_step
from pipelines.steps.ingest import ingest_step
from pipelines.steps.judged import judged_step, people_are_asked
from pipelines.steps.negatives import negatives_step
from pipelines.steps.negatives_graded import candidates_are_graded, negatives_graded_step
from pipelines.steps.negatives_scored import negatives_scored_step, scores_are_used
from pipelines.steps.queries import queries_step
from pipelines.steps.relevance import relevance_step
from pipelines.steps.soup import soup_step
from pipelines.steps.splits import splits_step
from pipelines.steps.tables import Tables
from pipelines.steps.tokens import tokens_step
from pipelines.steps.train import NAME as TRAIN
from pipelines.steps.train import train_step

log = logging.getLogger("patent_embed")
BASE, TUNED = "base", "tuned"


@dataclass(frozen=True)
class Recipe:
    """The steps of a run, in the order they run.

    Attributes:
        tables: what systems are measured on.
        systems: name → evaluation, in the order of reports.
        mined: the negatives that the training reads.
        tokens: what the training reads; None without one.
        trainings: all of them; the last one is published, or its mean with those of other seeds.
        published: the step whose model is published, with the base model's share; None without a training.
    """

    steps: tuple[StepSpec, ...]
    tables: Tables[Input]
    systems: Mapping[str, StepSpec]
    mined: Input
    tokens: StepSpec | None = None
    trainings: tuple[StepSpec, ...] = ()
    published: StepSpec | None = None


class _Steps:
    """Collects the steps of a recipe in the order in which they are made."""

    def __init__(self, config: Config) -> None:
        self.config, self.all = config, list[StepSpec]()
        self.systems: dict[str, StepSpec] = {}

    def add(self, step: StepSpec) -> StepSpec:
        self.all.append(step)
        return step

    def measure(self, name: str, vectors: Input, tables: Tables[Input]) -> None:
        self.systems[name] = self.add(evaluate_step(self.config, name, vectors, tables))


def data_tables(config: Config) -> tuple[tuple[StepSpec, ...], Tables[Input]]:
    """The steps from patent files to corpus, splits, queries and negatives."""
    found = find_input(config.data.data_dir)
    cache = find_query_cache(found.root, config.queries.cache) if config.queries.use_cache else None
    ingest = ingest_step(config, found)
    splits = splits_step(config, ingest)
    queries = queries_step(config, ingest, splits, cache)
    negatives = negatives_step(config, ingest, splits)
    steps = (ingest, splits, queries, negatives)
    if not people_are_asked(config.queries):
        return steps, Tables(*steps)
    judged = judged_step(config.queries, queries, splits)
    return (*steps, judged), Tables(ingest, splits, judged, negatives)


def run_recipe(config: Config, tuned: Path | None = None) -> Recipe:
    """The main job. ``tuned``: the model that an earlier run published, if it is there, which is measured instead of
    one that is trained (``run.test_only``)."""
    published = LocalModel(tuned) if tuned is not None and tuned.is_dir() else None
    steps = _Steps(config)
    data, tables = data_tables(config)
    steps.all += data
    if config.evaluation.bm25:
        steps.systems[BM25] = steps.add(bm25_step(config, tables))
    base = _base_model(config, needed=published is None)
    if base is not None:
        vectors = steps.add(embed_step(config, BASE, base, tables))
        steps.measure(BASE, vectors, tables)
        if not config.run.test_only:
            return _with_training(steps, base, vectors, tables)
    if published is not None:
        steps.measure(TUNED, steps.add(embed_step(config, TUNED, published, tables)), tables)
    return Recipe(tuple(steps.all), tables, steps.systems, tables.negatives)


def _with_training(steps: _Steps, base: LocalModel, vectors: StepSpec, tables: Tables[Input]) -> Recipe:
    """Mine, train and embed, as many rounds as asked: each mines with the ``vectors`` of the round before."""
    config, rounds, trainings = steps.config, steps.config.negatives.rounds, list[StepSpec]()
    known, graded = config.relations_are_known, candidates_are_graded(config)
    relevance = steps.add(relevance_step(config, tables.ingest, tables.splits)) if known and not graded else None
    for number in range(1, rounds + 1):
        last = number == rounds
        mark, name = ("", TUNED) if last else (f"-{number}", f"round-{number}")
        mined: Input = tables.negatives
        if scores_are_used(config):
            mined = steps.add(negatives_scored_step(config, tables, vectors, mark))
        if graded:
            mined = steps.add(negatives_graded_step(config, tables.with_negatives(mined), vectors, mark))
            if known:
                relevance = steps.add(relevance_step(config, tables.ingest, tables.splits, mined, mark))
        tokens = steps.add(tokens_step(config, base, tables.with_negatives(mined), mark, relevance))
        members = _members(config, tokens, base, mark, config.training.soup_size if last else 1)
        trainings += [steps.add(member) for member in members]
        trained = members[0] if len(members) == 1 else steps.add(soup_step(config, members))
        if last and config.training.base_share == "auto":
            mixed = None if relevance is None else (relevance, tokens)
            trained = steps.add(choose_step(config, base, trained, tables, mixed))
        vectors = steps.add(embed_step(config, name, trained, tables))
    steps.measure(TUNED, vectors, tables)
    return Recipe(tuple(steps.all), tables, steps.systems, mined, tokens, tuple(trainings), trained)


def _members(config: Config, tokens: StepSpec, base: LocalModel, mark: str, count: int) -> list[StepSpec]:
    """The trainings of a round: one, or several that differ in their seeds."""
    first = config.run.seed
    if count == 1:
        return [train_step(config, tokens, base, first, f"{TRAIN}{mark}")]
    return [train_step(config, tokens, base, seed, f"{TRAIN}-seed-{seed}") for seed in range(first, first + count)]


def _base_model(config: Config, *, needed: bool) -> LocalModel | None:
    """The base encoder; None where it cannot be had and is not needed: a tuned one is measured without it."""
    model = config.model
    try:
        return LocalModel(resolve_model(model.name, trust_remote_code=model.trust_remote_code).resolve())
    except UserError as error:
        if needed:
            raise
        log.warning("the tuned model is measured alone: %s", error)
        return None
