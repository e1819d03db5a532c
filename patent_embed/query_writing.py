"""From patents to queries written by a model: what to ask, what to accept of the answers, what to do about the rest.

The model itself is a Backend: any function from requests to answers. Nothing here knows how it is reached.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from patent_embed.config import QueriesConfig
from patent_embed.errors import UserError
from patent_embed.prompts import PROMPT_VERSION, chat_messages, choose_kind, completion_prompt, defuse, parse_answer
from patent_embed.queries import SCHEMA, query_kind
from patent_embed.query_filters import near_duplicates, reject_reason
from patent_embed.query_store import Answer, QueryStore
from patent_embed.rule_queries import plain, rule_query

ATTEMPTS = 2  # a rejected query is asked for once more, with another seed
_EXAMPLES_A_REASON = 3
_ALL_FAILED = 20  # so many requests without one answer are no accident


@dataclass(frozen=True)
class Patent:
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

    def messages(self, max_chars: int) -> list[dict[str, str]]:
        return chat_messages(self.patent.title, self.patent.abstract, self.kind, self.patent.language, max_chars)

    def completion(self, max_chars: int) -> str:
        return completion_prompt(self.patent.title, self.patent.abstract, self.kind, self.patent.language, max_chars)


# Answers come in pieces of any size; each piece is stored as it comes.
Backend = Callable[[Sequence[Request]], Iterable[list[Answer]]]


def make_request(patent: Patent, query_no: int, attempt: int, model: str, config: QueriesConfig, seed: int) -> Request:
    """The request for a patent's query number ``query_no``."""
    kind = choose_kind(patent.number, query_no, config.kinds, seed)
    asked = [PROMPT_VERSION, model, kind, patent.language, patent.title, patent.abstract]
    asked += [config.temperature, config.top_p, config.max_tokens, config.max_prompt_chars, seed, query_no, attempt]
    digest = hashlib.blake2b(json.dumps(asked, ensure_ascii=False).encode(), digest_size=16).hexdigest()
    return Request(patent, query_no, kind, attempt, digest, int(digest[:7], 16))


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
        self.rejects[reason] += 1
        shown = self.examples.setdefault(reason, [])
        if len(shown) < _EXAMPLES_A_REASON:
            shown.append(query[:120])


def collect(
    requests: Sequence[Request], backend: Backend, store: QueryStore, tally: Tally, *, reuse: bool
) -> dict[str, Answer]:
    """The answer to every request: from the store, or from the backend, whose answers are stored as they come."""
    keys = {request.key for request in requests}
    answers = store.read(keys) if reuse else {}
    tally.stored += len(answers)
    missing = list({request.key: request for request in requests if request.key not in answers}.values())
    tally.asked += len(missing)
    for piece in backend(missing) if missing else ():
        store.add(piece)
        answers.update((answer.key, answer) for answer in piece)
        for answer in piece:
            tally.tokens.update(prompt=answer.prompt_tokens, output=answer.output_tokens)
    # A request without an answer is an answer with an error: no row is lost in silence.
    return {key: answers.get(key) or Answer(key, error="lost") for key in keys}


@dataclass
class Slot:
    """A query that a patent is to get."""

    patent: Patent
    query_no: int
    query: str = ""
    kind: str = ""
    source: str = ""
    note: str = ""  # while there is no query: why


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
) -> Written:
    """Queries for a corpus: cached ones first, then the model's, and where those fail what ``config.fallback`` says.

    Every patent is either in the queries table or in the rejects. The result depends neither on the order of the corpus
    nor on that of the answers. Raises UserError when the model answered nothing at all.
    """
    columns = [corpus[name].to_pylist() for name in ("publication_number", "title", "abstract", "language")]
    patents = [Patent(*row) for row in sorted(zip(*columns, strict=True))]
    job = _Job(config, seed)
    for patent in patents:
        query = cached.get(patent.number, "")
        if query and plain(query) != plain(patent.title):
            job.done.append(Slot(patent, 0, query, query_kind(query), "cache"))
        else:
            job.open += [Slot(patent, number) for number in range(config.queries_per_patent)]
    asked = list(job.open)
    for attempt in range(ATTEMPTS):
        requests = [make_request(slot.patent, slot.query_no, attempt, model, config, seed) for slot in asked]
        answers = collect(requests, backend, store, job.tally, reuse=config.use_cache)
        if len(asked) >= _ALL_FAILED and all(answer.error for answer in answers.values()) and attempt == 0:
            counts = _counted(Counter(answer.error for answer in answers.values()))
            raise UserError(
                f"the model {model!r} answered none of {len(answers)} requests ({counts}): all queries would be rules; "
                f"check queries.{config.backend}, or set --query_backend rules"
            )
        asked = job.judge(zip(asked, requests, strict=True), answers)
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
    open: list[Slot] = field(default_factory=list)
    done: list[Slot] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def judge(self, asked: Iterable[tuple[Slot, Request]], answers: Mapping[str, Answer]) -> list[Slot]:
        """Fill the slots whose answers can be used; the slots whose answers were rejected."""
        rejected: list[Slot] = []
        fresh: list[Slot] = []
        for slot, request in asked:
            answer, patent = answers[request.key], slot.patent
            if answer.error:
                self.tally.errors[answer.error] += 1
                slot.note = answer.error
                continue
            query = parse_answer(answer.text)
            slot.note = reject_reason(query, patent.title, patent.abstract, patent.language, self.config)
            if slot.note:
                self.tally.reject(slot.note, query)
                rejected.append(slot)
            else:
                slot.query, slot.kind, slot.source = query, request.kind, self.config.backend
                fresh.append(slot)
        repeated = _repeated(self.done, fresh)
        for slot, repeats in zip(fresh, repeated, strict=True):
            if repeats:
                self.tally.reject("near_duplicate", slot.query)
                slot.query, slot.kind, slot.source, slot.note = "", "", "", "near_duplicate"
                rejected.append(slot)
            else:
                self.done.append(slot)
        return sorted(rejected, key=lambda slot: (slot.patent.number, slot.query_no))

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


def _repeated(done: Sequence[Slot], fresh: Sequence[Slot]) -> list[bool]:
    """Which of ``fresh`` repeat a query of another document."""
    slots = [*done, *fresh]
    return near_duplicates([slot.query for slot in slots], [slot.patent.abstract for slot in slots])[len(done) :]


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
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.Table.from_arrays([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: -item[1])[:4])
