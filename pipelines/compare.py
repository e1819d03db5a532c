"""Any models on one test set: that of a finished run, or one made from a data folder as a run would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from patent_embed.artifacts import Artifact
from patent_embed.config.settings import Config
from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from patent_embed.ownership import claim
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.terminal import say
from pipelines import publish
from pipelines.engine import Done, Input, LocalModel, Results, StepSpec, rate
from pipelines.job import execute, print_steps
from pipelines.model_names import plain_names
from pipelines.output_folder import looking_at, working_in
from pipelines.preflight import before_models
from pipelines.recipe import data_tables
from pipelines.reporting import make_report
from pipelines.run_folder import COMPARED, FinishedRun, open_run
from pipelines.steps import splits
from pipelines.steps.embed import as_searched, embed_step
from pipelines.steps.evaluate import BM25, bm25_step, evaluate_step, load_result
from pipelines.steps.judged import judged_step, people_are_asked
from pipelines.steps.tables import Tables


@dataclass(frozen=True)
class Comparison:
    """The steps that measure ``names`` (of models) on ``tables``, of which ``given`` is what an earlier run made."""

    names: Sequence[str]
    steps: Sequence[StepSpec]
    tables: Tables[Input]
    systems: dict[str, StepSpec]
    given: Results = field(default_factory=Results)


def comparison_recipe(config: Config, models: Sequence[str], *, of_run: bool) -> Comparison:
    """Measure ``models`` (hub ids or folders) on the queries of val and test; the first one is the baseline.

    Args:
        of_run: on those of the run that the output folder holds, without its data folder.

    Raises:
        UserError: the models are not two different ones at least, or there is no run.
    """
    names, given = plain_names(models), Results()
    data: tuple[StepSpec, ...] = ()
    tables: Tables[Input]
    if of_run:
        run = _finished_run(config.run.output_dir)
        tables, given, config = run.tables, _given(run.tables), as_searched(config, run.config)
        if people_are_asked(config.queries):
            asked = judged_step(config.queries, run.written_queries, tables.splits, before=tables.queries)
            data, tables = (asked,), Tables(tables.ingest, tables.splits, asked, tables.negatives)
    else:
        data, tables = data_tables(config)
    steps, systems = list(data), dict[str, StepSpec]()
    if config.evaluation.bm25:
        systems[BM25] = bm25_step(config, tables)
        steps.append(systems[BM25])
    for name, model in zip(names, models, strict=True):
        folder = resolve_model(model, trust_remote_code=config.model.trust_remote_code).resolve()
        vectors = embed_step(config, name, LocalModel(folder), tables)
        systems[name] = evaluate_step(config, name, vectors, tables)
        steps += [vectors, systems[name]]
    return Comparison(names, steps, tables, systems, given)


def print_plan(config: Config, models: Sequence[str], *, of_run: bool) -> None:
    """What a comparison would run or reuse."""
    comparison = comparison_recipe(config, models, of_run=of_run)
    with looking_at(config) as output:
        print_steps(config, output, comparison.steps)


def run(config: Config, models: Sequence[str], *, of_run: bool) -> None:
    """Compare, and write ``compare/<names>/`` into the output folder."""
    watch = Stopwatch()
    before_models(models)
    comparison = comparison_recipe(config, models, of_run=of_run)
    with working_in(config, "compare", [COMPARED], reads=True) as output:
        claim(output.folder, [COMPARED])
        done = execute(config, output, comparison.steps)
        done.by_name = comparison.given.by_name | done.by_name
        systems = [load_result(name, done[step]) for name, step in comparison.systems.items()]
        pairs = [(later, earlier) for earlier, later in combinations(comparison.names, 2)]
        compared = [("test", *pair) for pair in (*pairs, *((name, BM25) for name in comparison.names))]
        compared += [("val", *pair) for pair in pairs]
        report = make_report(config, done, comparison.tables, systems, compared)
        name = f"{COMPARED}/{'-'.join(comparison.names)}"
        (output.here / name).mkdir(parents=True, exist_ok=True)
        title = "Retrieval compared: " + ", ".join(comparison.names)
        publish.write_report(output.here / name, replace(report, title=title))
        publish.say_results(report)
        say(f"done in {duration(watch.seconds)}")
        say(f"report  {config.run.output_dir.rstrip('/')}/{name}/report.html")
        output.publish(name)


def _finished_run(output_dir: str) -> FinishedRun:
    run = open_run(output_dir)
    if run is None:
        raise UserError(
            f"{output_dir!r} holds no finished run, so there is no test set to compare on; set --output_dir to the "
            "folder of one, or --data_dir to patents"
        )
    return run


def _given(tables: Tables[Artifact]) -> Results:
    """The tables of a finished run as steps that are done."""
    rates = {splits.NAME: splits.patents_per_second}
    artifacts = (tables.ingest, tables.splits, tables.queries, tables.negatives)
    names = [artifact.manifest.step for artifact in artifacts]
    done = [
        Done(artifact, True, rates.get(name, rate)(artifact)) for name, artifact in zip(names, artifacts, strict=True)
    ]
    return Results(by_name=dict(zip(names, done, strict=True)))
