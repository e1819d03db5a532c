"""Would more patents, or more queries a patent, still help? Trainings on nested shares of what a run reads say so.

The steps are a run's up to its training, and reused where it made them: beside that it costs trainings on a quarter and
on half of the patents, and of the queries where patents have several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from pipelines import job
from pipelines.engine import LocalModel, Output, StepSpec, needed_for
from pipelines.output_folder import looking_at, working_in
from pipelines.preflight import before_models
from pipelines.recipe import Recipe
from pipelines.steps.coverage import PART, Trained, coverage_step, part_step
from pipelines.steps.train import NAME as TRAIN
from pipelines.steps.train import train_step

if TYPE_CHECKING:
    from patent_embed.training.coverage import Unit


def run(config: Config) -> None:
    """Train on the shares, and print the curves with what follows from them."""
    before_models([config.model.name])
    with working_in(config, "coverage", []) as output:
        steps = _steps(config, output)
        job.execute(config, output, steps)


def print_plan(config: Config) -> None:
    """The steps, what would be reused or run."""
    with looking_at(config) as output:
        job.print_steps(config, output, _steps(config, output))


def _steps(config: Config, output: Output) -> list[StepSpec]:
    from patent_embed.training.coverage import SHARES

    recipe = job.recipe_of(config, output)
    if recipe.tokens is None:
        raise UserError("run.test_only leaves no training, and coverage is about trainings; leave it out")
    base = recipe.trainings[-1].inputs["model"]
    assert isinstance(base, LocalModel)
    more = list[StepSpec]()
    trained = list[Trained]()
    # With several sources of relevance, other texts ask, too, and are as many as they are.
    several = config.queries.queries_per_patent > 1 and not config.relations_are_known
    units: tuple[Unit, ...] = ("patents", "queries") if several else ("patents",)
    for unit in units:
        for share in SHARES[:-1]:
            part = part_step(config, recipe.tokens, unit, share)
            name = f"{TRAIN}-{part.name.removeprefix(f'{PART}-')}"
            more += [part, train_step(config, part, base, config.run.seed, name)]
            trained.append((unit, share, more[-1]))
        trained.append((unit, SHARES[-1], _whole(recipe)))
    found = coverage_step(config, base, trained, recipe.tables)
    return [*needed_for(_whole(recipe), recipe.steps), *more, found]


def _whole(recipe: Recipe) -> StepSpec:
    """The first training of the last round, of the run's own seed."""
    tokens = recipe.tokens
    return next(step for step in recipe.trainings if any(each is tokens for each in step.inputs.values()))
