"""The query step: cached queries, a model through a backend, rules."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, ModelRef, Outcome
from patent_embed.config.model import ModelConfig
from patent_embed.config.queries import QueriesConfig, RoundTripConfig
from patent_embed.config.settings import Config
from patent_embed.encoder.hub import resolve_model
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.evaluation.search import exact_search, pair_scores
from patent_embed.folders import Folder
from patent_embed.hashing import file_digest
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.events import PairsGraded, QueriesWritten
from patent_embed.queries.asking import ATTEMPTS, Asking, Asks, Request
from patent_embed.queries.cache import read_query_cache
from patent_embed.queries.control import LEAST_PLANTED
from patent_embed.queries.examples import read_examples, shown_examples
from patent_embed.queries.filters import MOST_MET, PROMPT_RUN, SAME_FROM, SHORTEST_TITLE
from patent_embed.queries.grading import Judge, judge_lines, judge_queries
from patent_embed.queries.judging import JUDGE_VERSION, Judging, WriterAndJudge, judge_settings
from patent_embed.queries.overlap import Ranks
from patent_embed.queries.prompts import PROMPT_VERSION
from patent_embed.queries.rules import LATIN_FACTOR, build_queries
from patent_embed.queries.store import Answer, QueryStore
from patent_embed.queries.writing import RoundTrip, Written, answers_to_come, write_queries
from pipelines.backends.opened import open_backend
from pipelines.embedders import embed_texts
from pipelines.engine import Context, Digest, Emit, Input, LocalModel, StepSpec, ignore, rate
from pipelines.resources import free_resources
from pipelines.steps.tables import counted

NAME, STORE = "queries", "query_store"
_CONSTANTS = {
    "PROMPT_VERSION": PROMPT_VERSION,
    "ATTEMPTS": ATTEMPTS,
    "PROMPT_RUN": PROMPT_RUN,
    "SHORTEST_TITLE": SHORTEST_TITLE,
    "SAME_FROM": SAME_FROM,
    "MOST_MET": MOST_MET,
    "LATIN_FACTOR": LATIN_FACTOR,
}
_FILTERS = 3  # raised when the same answers would be judged in another way
Share = Callable[[LocalModel], ModelRef]


def digest_settings(config: QueriesConfig) -> dict[str, Any]:
    """The settings that decide what queries come out; the others only decide how fast."""
    limits = config.model_dump(mode="json", include={"backend", "min_chars", "max_chars"})
    if config.backend == "rules":
        return limits
    content = {"queries_per_patent", "kinds", "fallback", "copy_chars", "temperature", "top_p", "max_prompt_chars"}
    chosen = config.model_dump(mode="json", include=content | {"max_tokens", "max_tokens_again"})
    fresh = {} if config.use_cache else {"fresh": True}  # what was written without a store is another artifact
    sampled = {"sampling": config.llm.sampling} if config.backend == "llm" and config.llm.sampling else {}
    if config.backend == "api" and config.api.extra_body:
        sampled = {"extra_body": config.api.extra_body}
    checked = {"round_trip": config.round_trip.k} if config.round_trip.encoder else {}
    styled: dict[str, Any] = {"mix": mix} if (mix := {name: value for name, value in config.mix if value}) else {}
    if config.overlap.measure or config.overlap.target:
        styled["overlap"] = config.overlap.model_dump(mode="json")
    if config.judge.enabled:
        judge = config.judge.model_dump(mode="json", exclude={"enabled", "model", "candidates"})
        judge |= {"model": judging_of(config, 0).model, "version": [JUDGE_VERSION, LEAST_PLANTED]}
        styled["judge"] = judge
    return limits | chosen | fresh | sampled | checked | styled | {"model": model_identity(config), "filters": _FILTERS}


def model_identity(config: QueriesConfig) -> str:
    """What names the query writer in digests and stored answers."""
    if config.backend == "api":
        return f"api:{config.api.base_url or ''}:{config.api.model or config.llm.model}"
    return f"llm:{config.llm.model}"


def write_all(
    folder: Path,
    corpus: pa.Table,
    config: QueriesConfig,
    cache: Path | None,
    store: Folder,
    seed: int,
    *,
    splits: pa.Table | None = None,
    share_model: Share = lambda model: ModelRef(str(model.folder)),
    emit: Emit = ignore,
) -> Outcome:
    """Write ``queries.parquet`` and ``query_rejects.parquet`` by a model; its answers are kept in ``store``.

    ``splits`` is needed where ``config.round_trip`` names an encoder, which ``share_model`` makes known to workers,
    and where ``config.judge`` is asked, which also reads the codes of ``corpus``, and leaves ``grades.parquet``.
    """
    cached = read_query_cache(cache) if cache else {}
    uncached = [number for number in corpus["publication_number"].to_pylist() if not cached.get(number)]
    timings: dict[str, float] = {}
    checked = config.round_trip.encoder is not None and splits is not None and uncached
    round_trip = _round_trip(corpus, splits, config.round_trip, share_model) if checked else None
    watch = Stopwatch()

    def progress(done: int, asked: int) -> None:
        emit(QueriesWritten(done, asked, watch.seconds - timings.get("engine_start_s", 0.0)))

    asking = Asking(model_identity(config), config, seed, _examples(config, seed))
    judging = judging_of(config, seed) if config.judge.enabled else None
    wanted = config.overlap.measure or bool(config.overlap.target)
    with contextlib.ExitStack() as session:
        # One engine for both, where they are of one model.
        both = judging is not None and judging.model == asking.model
        asks: Asks = WriterAndJudge(asking, judging) if judging is not None and both else asking
        backend = session.enter_context(open_backend(asks, store, timings)) if uncached or both else _no_requests
        written = write_queries(
            corpus,
            asking,
            cached,
            backend,
            QueryStore(store),
            round_trip=round_trip,
            ranks=_ranks(corpus) if wanted and uncached else None,
            on_progress=progress,
        )
        if judging is not None and splits is not None:
            if not both:  # the writer's engine has the GPU
                session.close()
                backend = session.enter_context(open_backend(judging, store, {}))
            judge = Judge(judging, backend, QueryStore(store), graded_progress(emit))
            written = _judged(folder, written, corpus, splits, judge)
    pq.write_table(written.table, folder / "queries.parquet", compression="zstd")
    pq.write_table(written.rejects, folder / "query_rejects.parquet", compression="zstd")
    rejects = {item["values"]: item["counts"] for item in written.rejects["reason"].value_counts().to_pylist()}
    report = written.report | timings
    return Outcome(rows={"queries": len(written.table)}, rejects=dict(sorted(rejects.items())), report=report)


def _judged(folder: Path, written: Written, corpus: pa.Table, splits: pa.Table, judge: Judge) -> Written:
    """The queries that a judge leaves; its grades go into ``folder``."""
    found = judge_queries(written, corpus, splits, judge)
    pq.write_table(found.grades, folder / "grades.parquet", compression="zstd")
    return found.written


def judging_of(config: QueriesConfig, seed: int) -> Judging:
    """How the judge of ``config`` is asked."""
    reached = judge_settings(config)
    return Judging(model_identity(reached), reached, seed)


def graded_progress(emit: Emit) -> Callable[[int, int], None]:
    """What tells of grades as they come."""
    watch = Stopwatch()
    return lambda done, asked: emit(PairsGraded(done, asked, watch.seconds))


def _round_trip(corpus: pa.Table, splits: pa.Table, config: RoundTripConfig, share: Share) -> RoundTrip:
    """Whether queries find their own patents among the first k of their splits.

    The passages are embedded here, before an engine takes the GPUs; the queries on what it leaves. A patent with the
    same abstract, or an equal score, stands in nobody's way.
    """
    encoder = ModelConfig(name=config.encoder)
    model = share(LocalModel(resolve_model(encoder.name)))
    abstracts = corpus["abstract"]
    kinds = pa.array(["passage"] * len(corpus))
    passages = embed_texts(pa.table({"text": abstracts, "kind": kinds}), model, encoder)
    rows = {number: row for row, number in enumerate(corpus["publication_number"].to_pylist())}
    split_of = dict(zip(splits["publication_number"].to_pylist(), splits["split"].to_pylist(), strict=True))

    def found(numbers: Sequence[str], queries: Sequence[str]) -> list[bool]:
        asked = pa.table({"text": pa.array(queries), "kind": pa.array(["query"] * len(queries))})
        vectors = embed_texts(asked, model, encoder, nodes=[free_resources()])
        passed = np.zeros(len(queries), bool)
        for split in set(split_of.values()):
            mine = np.flatnonzero([split_of[number] == split for number in numbers])
            inside = np.array([row for number, row in rows.items() if split_of[number] == split])
            if not len(mine):
                continue
            best, _ = exact_search(vectors[mine], passages[inside], config.k)
            own = np.array([rows[numbers[i]] for i in mine.tolist()])
            passed[mine] = pair_scores(vectors, passages, mine, own) >= best[:, -1]
        return passed.tolist()

    return found


def _examples(config: QueriesConfig, seed: int) -> dict[str, list[str]]:
    """What prompts show of the user's own queries, by language of the prompt."""
    if config.examples is None:
        return {}
    queries = read_examples(Path(config.examples))
    return {language: shown_examples(queries, language, seed) for language in ("zh", "en")}


def _digest_of(examples: Path) -> str:
    read_examples(examples)  # raises UserError before anything is digested, or started
    return file_digest(examples)


def _ranks(corpus: pa.Table) -> Ranks:
    """The rank of a query's own patent by BM25 among all abstracts. One with an equal score stands in nobody's way."""
    rows = {number: row for row, number in enumerate(corpus["publication_number"].to_pylist())}
    index = Bm25Index.build(corpus["abstract"].to_pylist())

    @functools.cache
    def rank(number: str, query: str) -> int:
        scores = index.scores(query)
        own = scores[rows[number]]
        return int((scores > own).sum()) + 1 if own > 0 else 0

    return lambda numbers, queries: [rank(*pair) for pair in zip(numbers, queries, strict=True)]


def _no_requests(requests: Sequence[Request]) -> Iterable[list[Answer]]:
    return [] if not requests else [[Answer(request.key, error="not_sent") for request in requests]]


def queries_step(config: Config, ingest: Input, splits: Input, cache: Path | None) -> StepSpec:
    """A query for every patent of ``ingest``. ``cache``: a file with queries that exist already."""
    settings, seed = config.queries, config.run.seed
    inputs: dict[str, Input] = {"ingest": ingest}
    if cache is not None:
        inputs["cache"] = Digest(file_digest(cache))
    if settings.examples is not None and settings.backend != "rules":
        inputs["examples"] = Digest(_digest_of(Path(settings.examples)))
    if settings.round_trip.encoder and settings.backend != "rules":
        inputs |= {"splits": splits, "encoder": LocalModel(resolve_model(settings.round_trip.encoder))}

    if settings.judge.enabled:
        inputs |= {"splits": splits}
    columns = ["publication_number", "title", "abstract", "language", *(["codes"] if settings.judge.enabled else [])]

    def work(context: Context) -> Outcome:
        if settings.backend == "rules":
            parts = context.inputs["ingest"].groups("corpus", *columns)
            table, report = build_queries(parts, settings, cache, seed)
            pq.write_table(table, context.folder / "queries.parquet", compression="zstd")
            return Outcome(rows={"queries": len(table)}, report=report)
        return write_all(
            context.folder,
            context.table("ingest", "corpus", *columns),
            settings,
            cache,
            context.output.folder / STORE,
            seed,
            splits=context.table("splits") if "splits" in context.inputs else None,
            share_model=context.output.share,
            emit=context.progress.emit,
        )

    return StepSpec(
        name=NAME,
        version=2,
        settings=digest_settings(settings) | {"seed": seed},
        inputs=inputs,
        work=work,
        constants=_CONSTANTS,
        # Without the store of answers, everything would be paid for again.
        again=_asked_again if settings.use_cache else lambda artifact: "",
        notes=_notes,
        rate=rate,
    )


def _asked_again(artifact: Artifact) -> str:
    report = artifact.report
    missing = Counter(answers_to_come(report.get("errors", {})))
    missing.update(answers_to_come(report.get("judge", {}).get("errors", {})))
    return f"{sum(missing.values()):,} answers had not come ({counted(missing)}), and are asked for" if missing else ""


def _notes(artifact: Artifact) -> list[str]:
    report, rejects = artifact.report, artifact.manifest.rejects
    lines = ["by source: " + counted(report["sources"])]
    if report.get("generated") or report.get("reused_answers"):
        lines.append(f"{report['generated']:,} answers generated, {report['reused_answers']:,} reused")
    if tokens := report.get("tokens"):
        lines.append("tokens used: " + counted(tokens))
    if refused := report.get("rejected_answers"):
        lines.append("rejected answers: " + counted(refused))
    if bands := report.get("overlap"):
        lines.append("rank of the own patent by words alone: " + counted(bands))
    if failed := report.get("errors"):
        lines.append("requests that failed: " + counted(failed))
        if missing := answers_to_come(failed):
            lines.append(f"{sum(missing.values()):,} of them are asked for again by the next run")
    lines += judge_lines(report.get("judge"))
    if rejects:
        lines.append(f"{sum(rejects.values()):,} patents without a query: " + counted(rejects))
    if strangers := report.get("cache_without_patent"):
        lines.append(f"{strangers:,} cached queries belong to no patent here")
    return lines
