"""From patents to queries written by a model: what to ask, what to accept of the answers, what to do about the rest.

The model itself is a Backend: any function from requests to answers. Nothing here knows how it is reached.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from patent_embed.config.queries import QueriesConfig
from patent_embed.data.cleaning import clean_text
from patent_embed.data.schemas import QUERIES
from patent_embed.errors import UserError
from patent_embed.hashing import text_key
from patent_embed.queries.filters import near_duplicates, reject_reason
from patent_embed.queries.prompts import PROMPT_VERSION, choose_kind, defuse, parse_answer
from patent_embed.queries.rules import query_kind, rule_query
from patent_embed.queries.store import Answer, QueryStore
from patent_embed.text import plain

ATTEMPTS = 2  # a rejected query is asked for once more, with another seed
# Errors that are the model's last word: it was asked, and would say the same again. After all others it is asked anew.
_FINAL_ERRORS = frozenset({"malformed", "no_choices", "empty_answer", "http_400", "http_413", "http_422"})
EXAMPLES_A_REASON = 3  # rejected answers that the report shows
ALL_FAILED = 20  # so many requests without one answer are no accident


@dataclass(frozen=True)
class Patent:
    """A patent for which queries are written, by its publication number."""

    number: str
    title: str
    abstract: str
    language: str


@dataclass(frozen=True)
class Request:
    """One question to a model. ``key`` says all that the answer depends on."""

    patent: Patent
    query_no: int
    kind: str
    attempt: int
    key: str
    seed: int  # of the sampling


# Answers come in pieces of any size; each piece is stored as it comes. A backend is called at most ATTEMPTS times.
Backend = Callable[[Sequence[Request]], Iterable[list[Answer]]]
# For publication numbers and queries: does the query find its own patent?
RoundTrip = Callable[[Sequence[str], Sequence[str]], Sequence[bool]]


def make_request(patent: Patent, query_no: int, attempt: int, model: str, config: QueriesConfig, seed: int) -> Request:
    """The request for a patent's query number ``query_no``."""
    kind = choose_kind(patent.number, query_no, config.kinds, seed)
    asked: list[Any] = [PROMPT_VERSION, model, kind, patent.language, patent.title, patent.abstract]
    asked += [config.temperature, config.top_p, config.max_tokens, config.max_prompt_chars, seed, query_no, attempt]
    if config.backend == "llm" and config.llm.sampling:
        asked.append(config.llm.sampling)
    key = text_key(json.dumps(asked, ensure_ascii=False))
    return Request(patent, query_no, kind, attempt, key, int(key[:7], 16))


@dataclass
class Tally:
    """Counts of one run, for the report."""

    asked: int = 0
    stored: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    rejects: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    tokens: Counter[str] = field(default_factory=Counter)

    def reject(self, reason: str, query: str) -> None:
        """Count an answer that cannot be used, and keep it as an example where there are few of its kind."""
        self.rejects[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES_A_REASON:
            shown.append(query[:120])


@dataclass(frozen=True)
class Verdict:
    """What an answer gives by itself: a query, and why it cannot be used; or why there was no answer."""

    query: str = ""
    reject: str = ""
    error: str = ""


def collect(
    requests: Sequence[Request],
    backend: Backend,
    store: QueryStore,
    tally: Tally,
    config: QueriesConfig,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Verdict]:
    """A verdict on every request's answer, which is in the store or comes from the backend and is then stored.

    Answers are read as they come, while the model works on the next ones.
    """
    by_key = {request.key: request for request in requests}
    answers = store.read(by_key.keys()) if config.use_cache else {}
    tally.stored += len(answers)
    verdicts = {key: _verdict(by_key[key].patent, answer, config) for key, answer in answers.items()}
    missing = [request for key, request in by_key.items() if key not in answers]
    tally.asked += len(missing)
    done = 0
    for piece in backend(missing) if missing else ():
        store.add(piece)
        for answer in piece:
            verdicts[answer.key] = _verdict(by_key[answer.key].patent, answer, config)
            tally.tokens.update(prompt=answer.prompt_tokens, output=answer.output_tokens)
        done += len(piece)
        if on_progress is not None:
            on_progress(done, len(missing))
    # A request without an answer is an answer with an error: no row is lost in silence.
    return {key: verdicts.get(key, Verdict(error="lost")) for key in by_key}


def _verdict(patent: Patent, answer: Answer, config: QueriesConfig) -> Verdict:
    if answer.error:
        return Verdict(error=answer.error)
    query = clean_text(parse_answer(answer.text))  # as an exported cache is read back
    return Verdict(query, reject_reason(query, patent.title, patent.abstract, patent.language, config))


@dataclass
class Slot:
    """A query that a patent is to get."""

    patent: Patent
    query_no: int
    query: str = ""
    kind: str = ""
    source: str = ""
    note: str = ""  # while there is no query: why

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
    config: QueriesConfig,
    cached: Mapping[str, str],
    backend: Backend,
    model: str,
    store: QueryStore,
    seed: int,
    *,
    round_trip: RoundTrip | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Written:
    """Queries for a corpus: cached ones first, then the model's, and where those fail what ``config.fallback`` says.

    ``on_progress`` is called with the answers that have come and the number of those that are asked for. Every patent
    is either in the queries table or in the rejects. The result depends neither on the order of the corpus nor on that
    of the answers. Raises UserError when the model answered nothing at all.
    """
    columns = [corpus[name].to_pylist() for name in ("publication_number", "title", "abstract", "language")]
    patents = [Patent(*row) for row in sorted(zip(*columns, strict=True))]
    job = _Job(config, seed, round_trip)
    for patent in patents:
        query = cached.get(patent.number, "")
        if query and plain(query) != plain(patent.title):
            job.done.append(Slot(patent, 0, query, query_kind(query), "cache"))
        else:
            job.open += [Slot(patent, number) for number in range(config.queries_per_patent)]
    asked = list(job.open)
    for attempt in range(ATTEMPTS):
        requests = [make_request(slot.patent, slot.query_no, attempt, model, config, seed) for slot in asked]
        verdicts = collect(requests, backend, store, job.tally, config, on_progress)
        if attempt == 0 and len(asked) >= ALL_FAILED and all(verdict.error for verdict in verdicts.values()):
            counts = _counted(Counter(verdict.error for verdict in verdicts.values()))
            raise UserError(
                f"the model {model!r} answered none of {len(verdicts)} requests ({counts}): all queries would be "
                f"rules; check queries.{config.backend}, or set --query_backend rules"
            )
        asked = job.judge(zip(asked, requests, strict=True), verdicts)
    left = job.fall_back()
    tally = job.tally
    report = {
        "sources": _sorted(Counter(slot.source for slot in job.done)),
        "kinds": _sorted(Counter(slot.kind for slot in job.done)),
        "notes": _sorted(Counter(slot.note for slot in job.done if slot.note)),
        "cache_entries": len(cached),
        "cache_without_patent": len(cached.keys() - {patent.number for patent in patents}),
        "generated": tally.asked,
        "reused_answers": tally.stored,
        "errors": _sorted(tally.errors),
        "accepted_answers": sum(slot.source == config.backend for slot in job.done),
        "rejected_answers": _sorted(tally.rejects),
        "rejected_examples": dict(sorted(tally.examples.items())),
        "tokens": _sorted(tally.tokens),
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
    open: list[Slot] = field(default_factory=list)
    done: list[Slot] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def judge(self, asked: Iterable[tuple[Slot, Request]], verdicts: Mapping[str, Verdict]) -> list[Slot]:
        """Fill the slots whose answers can be used; the slots whose answers were rejected."""
        rejected: list[Slot] = []
        fresh: list[Slot] = []
        for slot, request in asked:
            verdict = verdicts[request.key]
            slot.query, slot.kind, slot.source = verdict.query, request.kind, self.config.backend
            if verdict.error:
                self.tally.errors[verdict.error] += 1
                slot.empty(verdict.error)
            elif verdict.reject:
                rejected.append(self._reject(slot, verdict.reject))
            else:
                fresh.append(slot)
        for reason, unfit in (("near_duplicate", self._repeated), ("round_trip", self._lost)):
            judged = list(zip(fresh, unfit(fresh), strict=True))
            rejected += [self._reject(slot, reason) for slot, bad in judged if bad]
            fresh = [slot for slot, bad in judged if not bad]
        for slot in fresh:
            slot.note = ""
        self.done += fresh
        return sorted(rejected, key=lambda slot: (slot.patent.number, slot.query_no))

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
    for slot in sorted(slots, key=lambda slot: (slot.patent.number, slot.query_no)):
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
