"""The main job: the steps of one resolved config in one output folder, from data to what is published there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from patent_embed import __version__
from patent_embed.artifacts import Artifact, ModelRef
from patent_embed.config.settings import Config
from patent_embed.errors import UserError
from patent_embed.progress.bus import Progress
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.listeners import JsonLines, Listener, Terminal
from patent_embed.progress.terminal import say
from pipelines import publish
from pipelines.engine import LocalModel, Output, Results, Runner, StepSpec, needed_for
from pipelines.events import RayMetrics
from pipelines.output_folder import REPLACED_BY_A_RUN, looking_at, working_in
from pipelines.preflight import before_models, before_ray
from pipelines.recipe import Recipe, run_recipe
from pipelines.run_folder import PROGRESS, PUBLISHED
from pipelines.session import ray_session
from pipelines.steps.train import MODEL, check_resume


def recipe_of(config: Config, output: Output) -> Recipe:
    """The steps of the main job in ``output``, whose model ``run.test_only`` measures."""
    if not config.run.test_only:
        return run_recipe(config)
    return run_recipe(config, output.folder.fetch_all(output.here / MODEL, MODEL))


def run(config: Config) -> None:
    """Run what is not done yet, then write the output folder."""
    watch = Stopwatch()
    before_models([config.model.name])
    reads = config.run.test_only
    replaces = PUBLISHED if reads else REPLACED_BY_A_RUN
    with working_in(config, "run --test_only" if reads else "run", replaces, reads=reads) as output:
        recipe = recipe_of(config, output)
        results = execute(config, output, recipe.steps, lambda todo: _check(config, recipe, todo))
        publish.publish(output, config, recipe, results, watch)


def _check(config: Config, recipe: Recipe, unfinished: Sequence[StepSpec]) -> None:
    check_resume(config, [step for step in unfinished if step in recipe.trainings])


def print_plan(config: Config) -> None:
    """The steps, what would be reused or run, and the row counts known so far."""
    with looking_at(config) as output:
        print_steps(config, output, recipe_of(config, output).steps)


def print_steps(config: Config, output: Output, steps: Sequence[StepSpec]) -> None:
    """What would become of ``steps``."""
    say(f"plan for {config.data.data_dir} in {output.folder}")
    Runner(output, use_cache=config.run.use_cache).plan(steps)


def prepare_training(config: Config, output: Output) -> tuple[ModelRef, Artifact]:
    """Run what a training needs, in a Ray session, and return the base model and the finished ``tokens`` step."""
    recipe = recipe_of(config, output)
    if recipe.tokens is None:
        raise UserError("run.test_only leaves no training to prepare; leave it out")
    results = execute(config, output, needed_for(recipe.tokens, recipe.steps))
    base = recipe.trainings[0].inputs["model"]
    assert isinstance(base, LocalModel)
    return output.share(base), results[recipe.tokens]


def execute(
    config: Config,
    output: Output,
    steps: Sequence[StepSpec],
    check: Callable[[Sequence[StepSpec]], None] = lambda unfinished: None,
) -> Results:
    """Run ``steps``: in a Ray session of their own where there is something to do and none yet. ``check`` is called
    with the unfinished ones before anything starts; so is ``before_ray``."""
    unfinished = Runner(output, use_cache=config.run.use_cache).unfinished(steps)
    check(unfinished)
    before_ray(config, output, unfinished)
    say(f"patent-embed {__version__}")
    say(f"data    {config.data.data_dir}")
    say(f"output  {config.run.output_dir}")
    session = ray_session(config.run.log_level, config.run.grows_to) if unfinished else contextlib.nullcontext()
    if not output.beside and output.folder.size(PROGRESS) is not None:
        output.folder.fetch(PROGRESS, output.here / PROGRESS)
    with session:
        listeners: list[Listener] = [JsonLines(output.here / PROGRESS)]
        listeners += [RayMetrics()] if unfinished else []
        listeners.append(Terminal(config.training.log_every))
        with contextlib.closing(Progress(listeners)) as progress:
            runner = Runner(output, use_cache=config.run.use_cache, progress=progress)
            return runner.run(steps, after=lambda: None if output.beside else output.publish(PROGRESS))
