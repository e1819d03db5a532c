"""The negatives to train on without those that answer a query, as a judge says; and its grades: ``queries.judge``."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from patent_embed.arrays import Vectors, matches, rows_of
from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.settings import Config
from patent_embed.data.schemas import GRADES
from patent_embed.evaluation.pooling import PatentVectors
from patent_embed.negatives.answers import hardest, without_answers
from patent_embed.negatives.drawn import examples
from patent_embed.queries.asking import Patent, Request
from patent_embed.queries.control import Pair
from patent_embed.queries.grading import Judge, grade_table, judge_lines
from patent_embed.queries.judging import JUDGE_VERSION
from patent_embed.queries.sources import RULES
from patent_embed.queries.store import Answer, QueryStore
from patent_embed.queries.writing import answers_to_come
from pipelines.backends.opened import open_backend
from pipelines.engine import Context, Input, StepSpec, rate
from pipelines.steps import negatives
from pipelines.steps.embed import patent_vectors, query_vectors
from pipelines.steps.queries import STORE, graded_progress, judging_of
from pipelines.steps.tables import Tables, counted

NAME = "negatives-graded"
GRADE_TABLE = "grades"


def candidates_are_graded(config: Config) -> bool:
    """Whether a judge is asked about negatives."""
    return config.queries.judge.enabled and config.queries.judge.candidates > 0


def negatives_graded_step(config: Config, tables: Tables[Input], vectors: Input, mark: str = "") -> StepSpec:
    """Of ``tables.negatives`` those that answer no query. Which of them are graded, the encoder whose embedding step
    is ``vectors`` says: each query's nearest. ``mark``: of the round.

    Where the judge failed its control (``pipelines.steps.queries``), nothing is asked, and all negatives stay.
    """
    settings, seed = config.queries, config.run.seed
    judging = judging_of(settings, seed)

    def work(context: Context) -> Outcome:
        mined, asked = context.table("negatives"), context.table("queries")
        corpus = context.table("ingest", "corpus", "publication_number", "title", "abstract", "language", "codes")
        report = dict(context.inputs["negatives"].report)
        about: dict[str, Any] = {"why_not": context.inputs["queries"].report["judge"]["why_not"]}
        grades = GRADES.empty_table()
        pairs, own = list[Pair](), list[str]()
        if not about["why_not"]:
            vectors = context.inputs["vectors"]
            queries, patents = query_vectors(vectors), patent_vectors(vectors)
            pairs, own = candidates(corpus, asked, mined, (queries, patents), settings.judge.candidates)
        store = context.output.folder / STORE
        with open_backend(judging, store, {}) if pairs else contextlib.nullcontext(_nobody) as backend:
            judge = Judge(judging, backend, QueryStore(store), graded_progress(context.progress.emit))
            found = judge.grades(pairs)
            about |= judge.report(pairs, found)
        if pairs:
            grades = grade_table(own, pairs, found)
            answers = grades.filter(pc.greater_equal(grades["grade"], settings.judge.answer_grade))
            wrong = zip(answers["publication_number"].to_pylist(), answers["patent"].to_pylist(), strict=True)
            left = without_answers(mined, report, set(wrong), config.negatives.per_positive)
            mined, report = left.table, left.report | {"examples": examples(left.table, corpus, asked, seed)}
            about["answers"] = len(answers)
        pq.write_table(mined, context.folder / "negatives.parquet", compression="zstd")
        pq.write_table(grades, context.folder / f"{GRADE_TABLE}.parquet", compression="zstd")
        return Outcome(rows={"negatives": len(mined)}, report=report | {"judge": about})

    judge = settings.judge
    return StepSpec(
        name=f"{NAME}{mark}",
        version=1,
        settings={
            "model": judging.model,
            "sampling": [settings.temperature, settings.top_p, settings.max_tokens, settings.max_prompt_chars],
            "candidates": judge.candidates,
            "answer_grade": judge.answer_grade,
            "per_positive": config.negatives.per_positive,
            "seed": seed,
        },
        inputs={"vectors": vectors} | tables.inputs(),
        work=work,
        constants={"JUDGE_VERSION": JUDGE_VERSION},
        check=negatives.require_negatives,
        again=_asked_again,
        notes=_notes,
        rate=rate,
    )


def _nobody(requests: Sequence[Request]) -> list[list[Answer]]:
    """A backend that nobody asks."""
    return [[Answer(request.key, error="not_sent") for request in requests]]


def candidates(
    corpus: pa.Table, asked: pa.Table, mined: pa.Table, vectors: tuple[Vectors, PatentVectors], count: int
) -> tuple[list[Pair], list[str]]:
    """The ``count`` negatives nearest to each query that no rule wrote, and the query's own patent beside each.

    ``vectors``: of the queries, rows as in ``asked``, and of the patents, rows as in ``corpus``.
    """
    ids, (queries, patents) = corpus["publication_number"], vectors
    query, place = matches(rows_of(asked["publication_number"], ids), rows_of(mined["publication_number"], ids))
    written = pc.not_equal(asked["source"], RULES).to_numpy()
    query, place = query[written[query]], place[written[query]]
    negative = rows_of(mined["negative"], ids)[place]
    chosen = hardest(query, patents.pairs(queries, query, negative), count)
    query, negative = query[chosen], negative[chosen]
    texts = asked["query"].take(pa.array(query)).to_pylist()
    pairs = [Pair(*each) for each in zip(texts, _patents(corpus, negative), strict=True)]
    return pairs, asked["publication_number"].take(pa.array(query)).to_pylist()


def _patents(corpus: pa.Table, rows: np.ndarray) -> Sequence[Patent]:
    found = corpus.select(["publication_number", "title", "abstract", "language"]).take(pa.array(rows))
    return [Patent(*row) for row in zip(*(column.to_pylist() for column in found.columns), strict=True)]


def _asked_again(artifact: Artifact) -> str:
    missing = answers_to_come(artifact.report["judge"]["errors"])
    return f"{sum(missing.values()):,} grades had not come ({counted(missing)}), and are asked for" if missing else ""


def _notes(artifact: Artifact) -> list[str]:
    return [*judge_lines(artifact.report["judge"]), *negatives.mining_notes(artifact)]
