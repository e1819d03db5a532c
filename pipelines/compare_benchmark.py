"""Models on any benchmark with judged answers: ``patent-embed compare MODELS --benchmark DIR``, or from Python ``run``,
which also takes a task of mteb as an object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from patent_embed.artifacts import Artifact
from patent_embed.benchmark.mteb_task import MTEB, MtebTask, find_task
from patent_embed.benchmark.reading import find_benchmark
from patent_embed.benchmark.tables import TEST, Benchmark, Item
from patent_embed.benchmark.trec import qrels_lines, run_lines
from patent_embed.config.model import ModelConfig
from patent_embed.config.settings import Config
from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from patent_embed.folders import folder_at, write_atomic
from patent_embed.ownership import claim
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.terminal import say
from pipelines import publish
from pipelines.engine import Context, Digest, Input, LocalModel, StepSpec
from pipelines.job import execute, print_steps
from pipelines.model_names import plain_names
from pipelines.output_folder import looking_at, working_in
from pipelines.preflight import before_models
from pipelines.reporting import benchmark_report
from pipelines.run_folder import COMPARED, open_run
from pipelines.steps.benchmark import (
    benchmark_bm25_step,
    benchmark_step,
    embed_benchmark_step,
    fused_step,
    load_benchmark,
    measured_step,
)
from pipelines.steps.embed import as_searched, corpus_of
from pipelines.steps.evaluate import BM25, load_result

RUNS, QRELS = "runs", "qrels"


@dataclass(frozen=True)
class BenchmarkComparison:
    """The steps that measure systems on a benchmark.

    Attributes:
        name: of the benchmark.
        models: what the models are called, the baseline first.
        tables: the step that reads it.
        systems: name → the step that measures it, in the order of the report.
        fusions: model → name of its fusion with BM25.
    """

    name: str
    models: Sequence[str]
    steps: Sequence[StepSpec]
    tables: StepSpec
    systems: Mapping[str, StepSpec]
    fusions: Mapping[str, str]

    def pairs(self, parts: Sequence[str]) -> Iterator[tuple[str, str, str]]:
        """What is compared with what: split, system, baseline. The first is the verdict.

        On all queries models with those before them, models and fusions with BM25, and fusions with their models; on
        ``parts`` of them the models alone, or the only one with BM25.
        """
        models = [(later, earlier) for earlier, later in combinations(self.models, 2)]
        words = [(name, BM25) for name in self.models if BM25 in self.systems]
        fusions = [
            *((fused, model) for model, fused in self.fusions.items()),
            *((f, BM25) for f in self.fusions.values()),
        ]
        yield from ((TEST, *pair) for pair in (*models, *words, *fusions))
        yield from ((part, *pair) for part in parts for pair in models or words)


def benchmark_recipe(config: Config, models: Sequence[str], benchmark: str | MtebTask) -> BenchmarkComparison:
    """Measure ``models`` (hub ids or folders), BM25, and each model fused with BM25 on ``benchmark``: a folder,
    ``mteb:TASK``, or a task.

    Raises:
        UserError: two models are the same, or the benchmark is none.
    """
    names = plain_names(models, least=1)
    name, tables = _source(config, benchmark)
    steps, systems, fusions = [tables], dict[str, StepSpec](), dict[str, str]()
    words = benchmark_bm25_step(tables) if config.evaluation.bm25 else None
    if words is not None:
        systems[BM25] = words
        steps.append(words)
    for model_name, model in zip(names, models, strict=True):
        folder = resolve_model(model, trust_remote_code=config.model.trust_remote_code).resolve()
        vectors = embed_benchmark_step(config, model_name, LocalModel(folder), tables)
        measured = measured_step(config, model_name, vectors, tables)
        systems[model_name] = measured
        steps += [vectors, measured]
        if words is not None:
            fusions[model_name] = f"{model_name} + {BM25}"
            systems[fusions[model_name]] = fused_step(model_name, measured, words, tables)
            steps.append(systems[fusions[model_name]])
    return BenchmarkComparison(name, names, steps, tables, systems, fusions)


def _source(config: Config, benchmark: str | MtebTask) -> tuple[str, StepSpec]:
    """Name of a benchmark, and the step that reads it."""
    if isinstance(benchmark, MtebTask) or benchmark.startswith(MTEB):
        task = benchmark if isinstance(benchmark, MtebTask) else find_task(benchmark.removeprefix(MTEB))
        return task.name, benchmark_step({"task": Digest(task.digest)}, lambda context: task.read())
    found = find_benchmark(Path(benchmark))
    source: dict[str, Input] = {"files": Digest(found.digest)}
    if found.corpus is None:
        run = open_run(config.run.output_dir)
        if run is None:
            raise UserError(
                f"{benchmark!r} holds no documents, so those of a run are meant, but {config.run.output_dir!r} holds "
                "no finished run; set --output_dir to the folder of one, or put a corpus.jsonl into the benchmark"
            )
        source["ingest"] = run.tables.ingest
        config = as_searched(config, run.config)

    def read(context: Context) -> Benchmark:
        return found.read(_patents(context, config.model) if found.corpus is None else ())

    view = {"passage_view": config.model.passage_view} if found.corpus is None else {}
    return found.name, benchmark_step(source, read, view)


def _patents(context: Context, config: ModelConfig) -> list[Item]:
    """The patents of a run as documents: what its encoders see of them."""
    table = corpus_of(context, config, "publication_number").select(["publication_number", "abstract"])
    return [Item(row["publication_number"], row["abstract"]) for row in table.to_pylist()]


def print_plan(config: Config, models: Sequence[str], benchmark: str | MtebTask) -> None:
    """What a comparison would run or reuse."""
    comparison = benchmark_recipe(config, models, benchmark)
    with looking_at(config) as output:
        print_steps(config, output, comparison.steps)


def run(config: Config, models: Sequence[str], benchmark: str | MtebTask) -> None:
    """Compare, and write ``compare/<benchmark>-<names>/`` into the output folder: what a comparison writes, and runs
    and judgements in the formats of trec_eval."""
    watch = Stopwatch()
    before_models(models)
    comparison = benchmark_recipe(config, models, benchmark)
    with working_in(config, "compare", [COMPARED], reads=True) as output:
        claim(output.folder, [COMPARED])
        say(f"on      {benchmark if isinstance(benchmark, str) else benchmark.name}")
        done = execute(config, output, comparison.steps)
        results = [load_result(name, done[step]) for name, step in comparison.systems.items()]
        found = load_benchmark(done[comparison.tables])
        parts = [split for split in found.splits if split != TEST]
        report = benchmark_report(config, done, found, results, comparison.pairs(parts))
        name = f"{COMPARED}/{'-'.join([comparison.name, *comparison.models])}"
        (output.here / name).mkdir(parents=True, exist_ok=True)
        title = f"Retrieval compared on {comparison.name}: " + ", ".join(comparison.models)
        publish.write_report(output.here / name, replace(report, title=title))
        write_trec(output.here / name, found, {name: done[step] for name, step in comparison.systems.items()})
        publish.say_results(report)
        say(f"done in {duration(watch.seconds)}")
        say(f"report  {config.run.output_dir.rstrip('/')}/{name}/report.html")
        say(f"runs    {config.run.output_dir.rstrip('/')}/{name}/{RUNS}/, judgements in {QRELS}/, for trec_eval")
        output.publish(name)


def write_trec(folder: Path, found: Benchmark, systems: Mapping[str, Artifact]) -> None:
    """A run file a system, and a file of judgements for each part. ``systems``: what measured each."""
    for place in (RUNS, QRELS):
        folder_at(folder).delete(place)  # of an earlier comparison, of other systems perhaps
        (folder / place).mkdir()
    for system, measured in systems.items():
        tag = system.replace(f" + {BM25}", f"-{BM25}")
        ranking = measured.table("ranking")
        lines = run_lines(ranking, found.queries["query_id"], found.documents["doc_id"], tag)
        write_atomic(folder / RUNS / f"{tag}.run", "".join(lines).encode())
    for split in found.splits:
        write_atomic(folder / QRELS / f"{split}.qrels", "".join(qrels_lines(found.graded(split))).encode())
