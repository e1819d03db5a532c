"""What people judged, clicked or cited, added to the queries: ``queries.judgements``, ``queries.log``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.queries import QueriesConfig
from patent_embed.errors import UserError
from patent_embed.hashing import text_digest
from patent_embed.queries.judged import JudgedQueries, with_judged
from patent_embed.queries.log import QueryLog, read_log
from patent_embed.serving.judgements import read_judgements
from pipelines.engine import Context, Digest, Input, StepSpec, rate
from pipelines.steps.tables import counted

NAME = "queries-judged"
_QUERIES, _ANSWERS = "queries.parquet", "judgements.parquet"


def people_are_asked(config: QueriesConfig) -> bool:
    """Whether there are queries of people to be added."""
    return config.judgements is not None or config.log is not None


def judged_step(config: QueriesConfig, queries: Input, splits: Input, before: Artifact | None = None) -> StepSpec:
    """The queries with those of the logs in ``config``. A judgement holds against a click.

    What counts is what the logs say when this is called: a server may go on writing its own. ``before``: the queries of
    a run whose model is to be measured; judged ones that it was trained on are not measured on.

    Raises UserError where a file is no log, or nothing in it holds.
    """
    logged = read_log(Path(config.log)) if config.log is not None else QueryLog([], {})
    left_out = Counter(logged.left_out)
    said = [(query, number, True) for query, number in logged.pairs]
    if config.judgements is not None:
        judged, torn = _judged(config.judgements)
        said += judged
        left_out["torn lines of the log"] += torn
    texts = sorted({query for query, _ in logged.pairs})
    trained = _trained(before)

    def work(context: Context) -> Outcome:
        found = with_judged(context.table("queries"), context.table("splits"), said, trained, texts)
        pq.write_table(found.queries, context.folder / _QUERIES, compression="zstd")
        pq.write_table(found.answers, context.folder / _ANSWERS, compression="zstd")
        return Outcome(
            rows={"queries": len(found.queries)}, report=_report(context.inputs["queries"], found, +left_out)
        )

    return StepSpec(
        name=NAME,
        version=1,
        settings={},
        inputs={
            "queries": queries,
            "splits": splits,
            "judgements": Digest(text_digest(orjson.dumps([said, trained, *([texts] if texts else [])]).decode())),
        },
        work=work,
        notes=_notes,
        rate=rate,
    )


def _judged(path: str) -> tuple[list[tuple[str, str, bool]], int]:
    """What was judged and not taken back, and how many lines are torn."""
    log = read_judgements(Path(path))
    said = [(each.query, each.publication_number, bool(each.relevant)) for each in log.current().values()]
    if not said:
        raise UserError(
            f"queries.judgements {path!r} holds no judgement that was not taken back, so there is nothing to add; "
            "judge some results, or leave the setting out"
        )
    return said, log.torn


def judgements_of(queries: Artifact) -> pa.Table | None:
    """The ``JUDGED`` table of a step's queries; None where nobody judged."""
    return queries.table("judgements") if _ANSWERS in queries.manifest.files else None


def _trained(before: Artifact | None) -> list[str]:
    """Judged queries that a run was trained on, sorted."""
    answers = judgements_of(before) if before is not None else None
    if answers is None:
        return []
    return sorted(set(answers.filter(pc.equal(answers["split"], "train"))["query"].to_pylist()))


def _report(queries: Artifact, found: JudgedQueries, lines: Mapping[str, int]) -> dict[str, Any]:
    """That of the queries, with what was added."""
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
