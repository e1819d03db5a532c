"""What people judged of search results, added to the queries: ``queries.judgements``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.errors import UserError
from patent_embed.hashing import text_digest
from patent_embed.queries.judged import JudgedQueries, with_judged
from patent_embed.serving.judgements import Judgements, read_judgements
from pipelines.engine import Context, Digest, Input, StepSpec, rate
from pipelines.steps.tables import counted

NAME = "queries-judged"
_QUERIES, _ANSWERS = "queries.parquet", "judgements.parquet"


def judged_step(path: str, queries: Input, splits: Input, before: Artifact | None = None) -> StepSpec:
    """The queries with those of the log ``path``.

    What counts is what the log says when this is called: a server may go on writing it. ``before``: the queries of a
    run whose model is to be measured; judged ones that it was trained on are not measured on.

    Raises UserError where the file is no log, or nothing in it holds.
    """
    log = read_judgements(Path(path))
    said = [(each.query, each.publication_number, bool(each.relevant)) for each in log.current().values()]
    if not said:
        raise UserError(
            f"queries.judgements {path!r} holds no judgement that was not taken back, so there is nothing to add; "
            "judge some results, or leave the setting out"
        )
    trained = _trained(before)

    def work(context: Context) -> Outcome:
        found = with_judged(context.table("queries"), context.table("splits"), said, trained)
        pq.write_table(found.queries, context.folder / _QUERIES, compression="zstd")
        pq.write_table(found.answers, context.folder / _ANSWERS, compression="zstd")
        return Outcome(rows={"queries": len(found.queries)}, report=_report(context.inputs["queries"], found, log))

    return StepSpec(
        name=NAME,
        version=1,
        settings={},
        inputs={
            "queries": queries,
            "splits": splits,
            "judgements": Digest(text_digest(orjson.dumps([said, trained]).decode())),
        },
        work=work,
        notes=_notes,
        rate=rate,
    )


def judgements_of(queries: Artifact) -> pa.Table | None:
    """The ``JUDGED`` table of a step's queries; None where nobody judged."""
    return queries.table("judgements") if _ANSWERS in queries.manifest.files else None


def _trained(before: Artifact | None) -> list[str]:
    """Judged queries that a run was trained on, sorted."""
    answers = judgements_of(before) if before is not None else None
    if answers is None:
        return []
    return sorted(set(answers.filter(pc.equal(answers["split"], "train"))["query"].to_pylist()))


def _report(queries: Artifact, found: JudgedQueries, log: Judgements) -> dict[str, Any]:
    """That of the queries, with what was added."""
    lines = {"torn lines of the log": log.torn} if log.torn else {}
    counts = {name: _counts(found.queries, of) for name, of in (("sources", "source"), ("kinds", "kind"))}
    return {
        **queries.report,
        **counts,
        "judgements": {**found.counts, **lines},
        "judged_queries": dict(sorted(found.asked.items())),
    }


def _counts(table: pa.Table, column: str) -> dict[str, int]:
    found = {each["values"]: each["counts"] for each in table[column].value_counts().to_pylist()}
    return dict(sorted(found.items()))


def _notes(artifact: Artifact) -> list[str]:
    report = artifact.report
    asked = counted(report["judged_queries"]) or "none that can be used"
    return [f"judged queries: {asked}", "judgements: " + counted(report["judgements"])]
