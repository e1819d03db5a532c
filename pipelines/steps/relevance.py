"""Pairs of texts that ask and right answers, of every source of relevance that has a weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from patent_embed.arrays import Rows
from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.settings import Config
from patent_embed.data.relevance import columns_of, find_relevance
from patent_embed.data.schemas import GRADES
from patent_embed.relevance.base import GRADED, SOURCES
from patent_embed.relevance.claims import LEAST as LEAST_CLAIM
from patent_embed.relevance.classes import COMMON, NEAREST
from patent_embed.relevance.classes import LEAST as LEAST_ALIKE
from patent_embed.relevance.halves import LEAST as LEAST_HALF
from pipelines.engine import Context, Input, StepSpec, rate
from pipelines.steps import negatives_graded
from pipelines.steps.tables import counted

if TYPE_CHECKING:
    from patent_embed.training.pairs import Known

NAME, LINKS = "relevance", "links"


def relevance_step(
    config: Config, ingest: Input, splits: Input, graded: Input | None = None, mark: str = ""
) -> StepSpec:
    """The table ``relevance`` of all splits, and the ``links`` between patents that are no negatives of one another.

    ``graded``: the step with a judge's grades of negatives, where there is one; ``mark``: of its round.
    """
    settings, seed = config.relevance, config.run.seed
    sources = [source for source in SOURCES if source.name in settings.weights()]

    def work(context: Context) -> Outcome:
        corpus = context.table("ingest", "corpus", *columns_of(settings))
        if graded is not None:
            grades = context.table("graded", negatives_graded.GRADE_TABLE)
            corpus = corpus.append_column(GRADED, _answers(corpus, grades, config.queries.judge.answer_grade))
        found = find_relevance(corpus, context.table("splits"), settings, seed)
        pq.write_table(found.table, context.folder / f"{NAME}.parquet", compression="zstd")
        pq.write_table(found.links, context.folder / f"{LINKS}.parquet", compression="zstd")
        return Outcome(rows={"pairs": len(found.table), LINKS: len(found.links)}, report={"sources": found.report})

    judged = {} if graded is None else {"answer_grade": config.queries.judge.answer_grade}
    return StepSpec(
        name=f"{NAME}{mark}",
        version=1,
        # Weights are the training's: another one finds the same pairs.
        settings={
            "sources": {source.name: source.settings_of(settings).model_dump() for source in sources},
            "answers_per_patent": settings.answers_per_patent,
            "seed": seed,
        }
        | judged,
        inputs={"ingest": ingest, "splits": splits} | ({} if graded is None else {"graded": graded}),
        work=work,
        constants={
            "LEAST_HALF": LEAST_HALF,
            "LEAST_CLAIM": LEAST_CLAIM,
            "LEAST_ALIKE": LEAST_ALIKE,
            "COMMON": COMMON,
            "NEAREST": NEAREST,
        },
        notes=_notes,
        rate=rate,
    )


def _answers(corpus: pa.Table, grades: pa.Table, least: int) -> pa.Array:
    """What ``GRADED`` holds: of each patent of ``corpus`` the answers among ``grades``, of grade ``least`` or more."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in grades.filter(pc.greater_equal(grades["grade"], least)).to_pylist():
        found.setdefault(row.pop("publication_number"), []).append(row)
    each = pa.struct([GRADES.field(name) for name in ("query", "patent", "grade")])
    return pa.array([found.get(number, []) for number in corpus["publication_number"].to_pylist()], pa.list_(each))


def known_of(context: Context, corpus: pa.Table, family: Rows) -> Known:
    """What the step found, for a training on ``corpus``, whose patents are of the families ``family``
    (``training_families``)."""
    from patent_embed.training.pairs import Known

    return Known(corpus, context.table("splits"), family, context.table(NAME), context.table(NAME, LINKS))


def _notes(artifact: Artifact) -> list[str]:
    lines = []
    for source, counts in artifact.report["sources"].items():
        others = {name.replace("_", " "): count for name, count in counts.items() if name not in _FIRST and count}
        line = f"{source}: {counts['pairs']:,} pairs, of which {counts['train']:,} are trained on"
        lines.append(f"{line} ({counted(others)})" if others else line)
    return lines


_FIRST = ("pairs", "train")
