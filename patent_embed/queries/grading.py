"""What follows from a judge's grades: which pairs it is asked for, which queries are dropped, what it costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from patent_embed.config.queries import QueriesConfig
from patent_embed.data.schemas import GRADES, QUERIES
from patent_embed.queries.asking import Patent
from patent_embed.queries.collecting import EXAMPLES_A_REASON, Backend, Tally, collect
from patent_embed.queries.control import Control, Pair, control_in, planted
from patent_embed.queries.judging import Judging
from patent_embed.queries.rules import rule_query
from patent_embed.queries.sources import RULES
from patent_embed.queries.store import QueryStore
from patent_embed.queries.writing import Written

IRRELEVANT = "judged_irrelevant"

OnProgress = Callable[[int, int], None]


@dataclass
class Judge:
    """A judge at work: asks through ``backend``, keeps answers in ``store``, and counts.

    ``on_progress`` is called with the grades that have come and the number of those that are asked for.
    """

    judging: Judging
    backend: Backend
    store: QueryStore
    on_progress: OnProgress | None = None
    tally: Tally = field(default_factory=Tally)
    _pairs: int = 0  # different ones, so far
    _spent: Counter[str] = field(default_factory=Counter)  # tokens for all of them, now or by an earlier run

    def grades(self, pairs: Sequence[Pair]) -> list[int | None]:
        """Of each pair, in their order; None where the judge gave none. Equal pairs are asked for once."""
        requests = [self.judging.request(pair.query, pair.patent) for pair in pairs]
        said = collect(requests, self.backend, self.store, self.tally, self.judging, self.on_progress)
        self._pairs += len(said)
        for chain in said.values():
            verdict = chain[-1].verdict
            if verdict.error:
                self.tally.errors[verdict.error] += 1
            elif verdict.reject:
                self.tally.reject(verdict.reject, "")
            for each in chain:
                self._spent.update(prompt=each.prompt_tokens, output=each.output_tokens)
        return [said[request.key][-1].verdict.grade for request in requests]

    def report(self, pairs: Sequence[Pair], grades: Sequence[int | None]) -> dict[str, Any]:
        """Counts of the ``grades`` of ``pairs``, and of what was asked for them and for the control, with its cost."""
        tally = self.tally
        counts = Counter(grade for grade in grades if grade is not None)
        cost = {f"{name} tokens": round(1000 * spent / self._pairs) for name, spent in sorted(self._spent.items())}
        return {
            "pairs": len(pairs),
            "grades": {str(grade): counts[grade] for grade in sorted(counts)},
            "ungraded": sum(grade is None for grade in grades),
            "asked": tally.asked,
            "reused_answers": tally.stored,
            "errors": dict(sorted(tally.errors.items())),
            "without_grade": dict(sorted(tally.rejects.items())),
            "per_1000_pairs": cost,
        }


@dataclass(frozen=True)
class Judged:
    """Queries that a judge has graded.

    Attributes:
        written: those that are left, with rule queries or rejects for patents that have no other, and the report.
        grades: ``GRADES`` of each query that was graded against its own abstract, dropped or not.
    """

    written: Written
    grades: pa.Table


def judge_queries(written: Written, corpus: pa.Table, splits: pa.Table, judge: Judge) -> Judged:
    """Control the judge, and drop the queries that it grades below ``queries.judge.min_grade``.

    Where the control fails, no more is asked, and all queries stay. Queries of rules are lifted from their abstracts,
    and not graded. A query that got no grade stays, and is counted.

    Args:
        corpus: ``publication_number, title, abstract, language, codes``.
        splits: ``publication_number, family``.
    """
    config, seed = judge.judging.config, judge.judging.seed
    limits = {"min_chars": config.min_chars, "max_chars": config.max_chars}
    known = planted(corpus, splits, config.judge.controls, seed, **limits)
    control = Control.of(known, judge.grades(known.pairs), config.judge.answer_grade)
    why = control.shortcoming(config.judge)
    about = {"model": judge.judging.model, "control": control.report(), "why_not": why}
    if why:
        report = written.report | {"judge": about | judge.report([], [])}
        return Judged(replace(written, report=report), GRADES.empty_table())
    names = ("publication_number", "title", "abstract", "language")
    patents = {row[0]: Patent(*row) for row in zip(*(corpus[name].to_pylist() for name in names), strict=True)}
    rows = written.table.to_pylist()
    asked = [row for row in rows if row["source"] != RULES]
    pairs = [Pair(row["query"], patents[row["publication_number"]]) for row in asked]
    grades = judge.grades(pairs)
    table = grade_table([pair.patent.number for pair in pairs], pairs, grades)
    wrong = [
        row for row, grade in zip(asked, grades, strict=True) if grade is not None and grade < config.judge.min_grade
    ]
    found = _dropped(written, rows, wrong, patents, config, seed)
    about |= judge.report(pairs, grades) | {"dropped": len(wrong)}
    return Judged(replace(found, report=found.report | {"judge": about}), table)


def grade_table(own: Sequence[str], pairs: Sequence[Pair], grades: Sequence[int | None]) -> pa.Table:
    """``GRADES`` of the pairs that have a grade. ``own``: the patent that each query was written for."""
    rows = [
        (number, pair.query, pair.patent.number, grade)
        for number, pair, grade in zip(own, pairs, grades, strict=True)
        if grade is not None
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(GRADES)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, GRADES, strict=True)], schema=GRADES)


def _dropped(
    written: Written,
    rows: list[dict[str, Any]],
    wrong: list[dict[str, Any]],
    patents: Mapping[str, Patent],
    config: QueriesConfig,
    seed: int,
) -> Written:
    """``written`` without the ``wrong`` ones of its ``rows``; a patent that has no other gets what
    ``queries.fallback`` says."""
    gone = {(row["publication_number"], row["query_no"]) for row in wrong}
    kept = [row for row in rows if (row["publication_number"], row["query_no"]) not in gone]
    served = {row["publication_number"] for row in kept}
    bare = sorted({number for number, _ in gone} - served)
    rejects = written.rejects
    if config.fallback == "none":
        more = {"publication_number": bare, "reason": [IRRELEVANT] * len(bare)}
        rejects = pa.concat_tables([rejects, pa.table(more, schema=rejects.schema)])
    else:
        kept += [_by_rules(patents[number], config, seed) for number in bare]
    kept.sort(key=lambda row: (row["publication_number"], row["query_no"]))
    number: Counter[str] = Counter()
    for row in kept:
        row["query_no"] = number[row["publication_number"]]
        number[row["publication_number"]] += 1
    return replace(
        written, table=pa.Table.from_pylist(kept, schema=QUERIES), rejects=rejects, report=_report(written, kept, wrong)
    )


def _by_rules(patent: Patent, config: QueriesConfig, seed: int) -> dict[str, Any]:
    limits = {"min_chars": config.min_chars, "max_chars": config.max_chars}
    query, kind, _ = rule_query(patent.title, patent.abstract, patent.language, seed, **limits)
    row = (patent.number, 0, query, RULES, kind, IRRELEVANT)
    return dict(zip(QUERIES.names, row, strict=True))


def _report(written: Written, kept: list[dict[str, Any]], wrong: list[dict[str, Any]]) -> dict[str, Any]:
    """That of the queries, as they are now."""
    report, found = dict(written.report), len(wrong)
    for name, of in (("sources", "source"), ("kinds", "kind"), ("notes", "note")):
        report[name] = dict(sorted(Counter(row[of] for row in kept if row[of]).items()))
    if found:
        # Of those that a model wrote now; what came from a cache was no answer of this run.
        mine = sum(row["source"] != "cache" for row in wrong)
        report["accepted_answers"] -= mine
        report["rejected_answers"] = dict(sorted((report["rejected_answers"] | {IRRELEVANT: found}).items()))
        shown = [row["query"][:120] for row in wrong[:EXAMPLES_A_REASON]]
        report["rejected_examples"] = dict(sorted((report["rejected_examples"] | {IRRELEVANT: shown}).items()))
    return report


def judge_lines(report: Mapping[str, Any] | None) -> list[str]:
    """What is to be said of a judge's work, by its ``Judge.report`` and what steps put beside it; nothing where there
    was none."""
    if report is None:
        return []
    lines = ["judge: " + control_in(report["control"]).line()] if "control" in report else []
    if report["why_not"]:
        lines.append(f"the judge's grades are not used: {report['why_not']}")
    if report["pairs"]:
        grades = ", ".join(f"{count:,} of grade {grade}" for grade, count in report["grades"].items())
        without = f", {report['ungraded']:,} without" if report["ungraded"] else ""
        lines.append(f"{report['pairs']:,} pairs judged: {grades or 'none with a grade'}{without}")
    if "dropped" in report:
        lines.append(f"{report['dropped']:,} queries dropped, whose own abstract does not answer them ({IRRELEVANT})")
    if "answers" in report:
        lines.append(f"{report['answers']:,} candidates are answers, and no negatives")
    if cost := report["per_1000_pairs"]:
        lines.append("1,000 pairs cost " + ", ".join(f"{count:,} {what}" for what, count in cost.items()))
    return lines
