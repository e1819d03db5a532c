"""From patents to queries written by a model: what to ask, what to accept of the answers, what to do about the rest.

How the model is reached, and what of its answers is kept, is of ``collecting``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from patent_embed.config.queries import QueriesConfig
from patent_embed.data.schemas import QUERIES
from patent_embed.errors import UserError
from patent_embed.queries.asking import ATTEMPTS, Asking, Patent, Request
from patent_embed.queries.collecting import Backend, Said, Tally, collect
from patent_embed.queries.filters import near_duplicates
from patent_embed.queries.overlap import Ranks, in_bands, too_many
from patent_embed.queries.prompts import PROMPT_VERSION, defuse
from patent_embed.queries.rules import query_kind, rule_query
from patent_embed.queries.store import CUT, QueryStore
from patent_embed.text import plain

# Errors that are the model's last word: it was asked, and would say the same again. After all others it is asked anew.
_FINAL_ERRORS = frozenset({"malformed", "no_choices", "empty_answer", "http_400", "http_413", "http_422"})
ALL_FAILED = 20  # so many requests without one answer are no accident


# For publication numbers and queries: does the query find its own patent?
RoundTrip = Callable[[Sequence[str], Sequence[str]], Sequence[bool]]


@dataclass
class Slot:
    """A query that a patent is to get."""

    patent: Patent
    query_no: int
    query: str = ""
    kind: str = ""
    source: str = ""
    note: str = ""  # while there is no query: why
    request: Request | None = None  # whose answer was the last

    def empty(self, reason: str) -> None:
        """Without a query again, and why."""
        self.query, self.kind, self.source, self.note = "", "", "", reason


@dataclass(frozen=True)
class Written:
    """``table`` is the queries table; ``rejects`` has a row for each patent that got no query."""

    table: pa.Table
    rejects: pa.Table
    report: dict[str, Any]


def write_queries(
    corpus: pa.Table,
    asking: Asking,
    cached: Mapping[str, str],
    backend: Backend,
    store: QueryStore,
    *,
    round_trip: RoundTrip | None = None,
    ranks: Ranks | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Queries for a corpus: cached ones first, then the model's, and where those fail what ``queries.fallback`` says.

    ``on_progress`` is called with the answers that have come and the number of those that are asked for. Every patent
    is either in the queries table or in the rejects. The result depends neither on the order of the corpus nor on that
    of the answers. Raises UserError when the model answered nothing at all.
    """
    columns = [corpus[name].to_pylist() for name in ("publication_number", "title", "abstract", "language")]
    patents = [Patent(*row) for row in sorted(zip(*columns, strict=True))]
    config = asking.config
    job = _Job(config, asking.seed, round_trip, ranks)
    for patent in patents:
        query = cached.get(patent.number, "")
        if query and plain(query) != plain(patent.title):
            job.done.append(Slot(patent, 0, query, query_kind(query), "cache"))
        else:
            job.open += [Slot(patent, number) for number in range(config.queries_per_patent)]
    asked = [(slot, asking.request(slot.patent, slot.query_no)) for slot in job.open]
    late: list[tuple[Slot, list[Said]]] = []
    for attempt in range(ATTEMPTS):
        requests = [request for _, request in asked]
        said = collect(requests, backend, store, job.tally, asking, on_progress)
        if attempt == 0 and len(asked) >= ALL_FAILED and all(each[-1].verdict.failed for each in said.values()):
            raise UserError(_nothing(asking, said.values()))
        answered = late + [(slot, said[request.key]) for slot, request in asked]
        # Judged together: what came to attempts of one number, so that nothing depends on what was asked at once.
        late = [(slot, each) for slot, each in answered if each[-1].request.attempt > attempt]
        now = [(slot, each) for slot, each in answered if each[-1].request.attempt <= attempt]
        again = [(slot, slot.request and asking.another(slot.request)) for slot in job.judge(now)]
        if attempt == 0:
            again += job.steer(asking)
        asked = [(slot, request) for slot, request in again if request is not None]
    job.take_back()
    left = job.fall_back()
    report = job.report() | {
        "cache_entries": len(cached),
        "cache_without_patent": len(cached.keys() - {patent.number for patent in patents}),
        "defused_patents": sum(defuse(f"{patent.title}\n{patent.abstract}")[1] for patent in patents),
        "prompt_version": PROMPT_VERSION,
    }
    return Written(_table(job.done), _rejects(left), report)


@dataclass
class _Job:
    """The slots of one corpus: ``done`` have a query."""

    config: QueriesConfig
    seed: int
    round_trip: RoundTrip | None = None
    ranks: Ranks | None = None
    spare: list[tuple[Slot, Slot]] = field(default_factory=list)  # asked for once more, and what there was before
    open: list[Slot] = field(default_factory=list)
    done: list[Slot] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def judge(self, answered: Iterable[tuple[Slot, Sequence[Said]]]) -> list[Slot]:
        """Fill the slots whose answers can be used; those whose answers others had given, or find other patents."""
        rejected: list[Slot] = []
        fresh: list[Slot] = []
        for slot, said in sorted(answered, key=lambda each: _place(each[0])):
            for each in said:
                verdict = each.verdict
                slot.query, slot.kind, slot.source = verdict.query, each.request.kind, self.config.backend
                slot.request = each.request
                if verdict.error:
                    self.tally.errors[verdict.error] += 1
                    slot.empty(verdict.error)
                elif verdict.reject:
                    self._reject(slot, verdict.reject)
            if slot.query:
                fresh.append(slot)
        for reason, unfit in (("near_duplicate", self._repeated), ("round_trip", self._lost)):
            judged = list(zip(fresh, unfit(fresh), strict=True))
            rejected += [self._reject(slot, reason) for slot, bad in judged if bad]
            fresh = [slot for slot, bad in judged if not bad]
        for slot in fresh:
            slot.note = ""
        self.done += fresh
        return sorted(rejected, key=_place)

    def steer(self, asking: Asking) -> list[tuple[Slot, Request | None]]:
        """Slots of bands of which there are too many, each with a request for a harder or an easier query."""
        target = self.config.overlap.target
        if self.ranks is None or not target:
            return []
        open_ = [slot for slot in self.done if slot.request is not None and asking.another(slot.request) is not None]
        numbers = [slot.patent.number for slot in open_]
        chosen = too_many(numbers, self.ranks(numbers, [slot.query for slot in open_]), target, self.seed)
        taken = [(open_[place], harder) for place, harder in sorted(chosen.items())]
        self.spare = [(slot, replace(slot)) for slot, _ in taken]
        gone = {_place(slot) for slot, _ in taken}
        self.done = [slot for slot in self.done if _place(slot) not in gone]
        return [(slot, slot.request and asking.moved(slot.request, harder=harder)) for slot, harder in taken]

    def take_back(self) -> None:
        """The queries that were to be replaced, where what came in their place cannot be used."""
        filled = {_place(slot) for slot in self.done}
        self.done += [before for slot, before in self.spare if _place(slot) not in filled]

    def report(self) -> dict[str, Any]:
        """Counts of the queries and of what became of the answers."""
        tally = self.tally
        return self._styles() | {
            "sources": _sorted(Counter(slot.source for slot in self.done)),
            "kinds": _sorted(Counter(slot.kind for slot in self.done)),
            "notes": _sorted(Counter(slot.note for slot in self.done if slot.note)),
            "generated": tally.asked,
            "reused_answers": tally.stored,
            "errors": _sorted(tally.errors),
            "accepted_answers": sum(slot.source == self.config.backend for slot in self.done),
            "rejected_answers": _sorted(tally.rejects),
            "rejected_examples": dict(sorted(tally.examples.items())),
            "tokens": _sorted(tally.tokens),
        }

    def _styles(self) -> dict[str, Any]:
        """For the report, where something is known of it: how the model's queries were to be, and how hard they are."""
        written = [(slot, slot.request.style) for slot in sorted(self.done, key=_place) if slot.request is not None]
        found = [(slot, style) for slot, style in written if slot.source == self.config.backend]
        named = Counter(f"{part}: {each}" for _, style in found for part, each in style.parts())
        report: dict[str, Any] = {"styles": _sorted(named)} if named else {}
        if self.ranks is not None:
            ranks = self.ranks([slot.patent.number for slot, _ in found], [slot.query for slot, _ in found])
            report["overlap"] = in_bands(ranks)
            by_difficulty: dict[str, list[int]] = {}
            for (_, style), rank in zip(found, ranks, strict=True):
                by_difficulty.setdefault(style.difficulty or "any", []).append(rank)
            report["overlap_by_difficulty"] = {name: in_bands(by_difficulty[name]) for name in sorted(by_difficulty)}
            report["steered"] = {"asked": len(self.spare), "target": dict(self.config.overlap.target)}
        return report

    def _reject(self, slot: Slot, reason: str) -> Slot:
        self.tally.reject(reason, slot.query)
        slot.empty(reason)
        return slot

    def _repeated(self, fresh: Sequence[Slot]) -> list[bool]:
        """Which of ``fresh`` repeat a query of another document."""
        slots = [*self.done, *fresh]
        repeated = near_duplicates([slot.query for slot in slots], [slot.patent.abstract for slot in slots])
        return repeated[len(self.done) :]

    def _lost(self, fresh: Sequence[Slot]) -> list[bool]:
        """Which of ``fresh`` do not find their own patent."""
        if self.round_trip is None or not fresh:
            return [False] * len(fresh)
        found = self.round_trip([slot.patent.number for slot in fresh], [slot.query for slot in fresh])
        return [not each for each in found]

    def fall_back(self) -> list[Slot]:
        """A rule query for each patent without any query; with fallback "none", those patents' slots instead."""
        served = {slot.patent.number for slot in self.done}
        failed = {slot.patent.number: slot for slot in reversed(self.open) if slot.patent.number not in served}
        slots = [failed[number] for number in sorted(failed)]
        if self.config.fallback == "none":
            return slots
        limits = {"min_chars": self.config.min_chars, "max_chars": self.config.max_chars}
        for slot in slots:
            patent = slot.patent
            slot.query, slot.kind, _ = rule_query(patent.title, patent.abstract, patent.language, self.seed, **limits)
            slot.source = "rules"
        self.done += slots
        return []


def _place(slot: Slot) -> tuple[str, int]:
    return slot.patent.number, slot.query_no


def _nothing(asking: Asking, said: Collection[Sequence[Said]]) -> str:
    """The message where no request has an answer that is whole."""
    counts = Counter(each[-1].verdict.error or each[-1].verdict.reject for each in said)
    config = asking.config
    advice = f"check queries.{config.backend}"
    if any(counts[cut] for cut in CUT):
        advice += f", give answers more room than queries.max_tokens_again={config.max_tokens_again}"
    return (
        f"the model {asking.model!r} answered none of {len(said)} requests ({_counted(counts)}): all queries would be "
        f"rules; {advice}, or set --query_backend rules"
    )


def _rejects(slots: Sequence[Slot]) -> pa.Table:
    return pa.table(
        {
            "publication_number": pa.array([slot.patent.number for slot in slots], pa.string()),
            "reason": pa.array([slot.note for slot in slots], pa.string()),
        }
    )


def _table(slots: Sequence[Slot]) -> pa.Table:
    rows = []
    number, last = 0, ""
    for slot in sorted(slots, key=_place):
        number = number + 1 if slot.patent.number == last else 0
        last = slot.patent.number
        rows.append((last, number, slot.query, slot.source, slot.kind, slot.note))
    columns = list(zip(*rows, strict=True)) or [()] * len(QUERIES)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, QUERIES, strict=True)], schema=QUERIES)


def answers_to_come(errors: Mapping[str, int]) -> dict[str, int]:
    """Of the ``errors`` in a report those that passed: for their requests something stands in until a later run has
    asked again."""
    return {error: count for error, count in errors.items() if error not in _FINAL_ERRORS}


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1])[:4])
