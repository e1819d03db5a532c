"""What is asked for a patent, what its answer is worth, and what is asked next because of it.

Workers and driver decide with the same ``Asking``, so that a worker asks again at once, while its engine or endpoint is
busy with others, and the driver knows which answers belong together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, Self

from patent_embed.config.queries import QueriesConfig
from patent_embed.data.cleaning import clean_text
from patent_embed.hashing import text_key
from patent_embed.queries.filters import reject_reason, repeats
from patent_embed.queries.prompts import (
    ANSWER_SCHEMA,
    OPENING,
    PROMPT_VERSION,
    Message,
    chat_messages,
    choose_kind,
    prompt_language,
)
from patent_embed.queries.reading import final_text, parse_answer
from patent_embed.queries.store import CUT, Answer
from patent_embed.queries.styles import Style, choose_style, style_text
from patent_embed.text import plain

ATTEMPTS = 2  # a rejected query is asked for once more, with another seed


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
    longer: bool = False  # with more room, since an answer was cut short
    style: Style = field(default_factory=Style)
    graded: str = ""  # a query that is there, for which a judge is to grade the patent; empty: one is to be written


@dataclass(frozen=True)
class Verdict:
    """What an answer gives by itself: a query or a grade, and why it cannot be used; or why there was no answer."""

    query: str = ""
    reject: str = ""
    error: str = ""
    grade: int | None = None

    @property
    def failed(self) -> bool:
        """Whether there was no whole answer."""
        return bool(self.error) or self.reject in CUT


@dataclass(frozen=True)
class Form:
    """The form that an answer is to have, and how freely it is drawn.

    Attributes:
        shape: what an engine holds the answer to: ``{"json": SCHEMA}`` or ``{"regex": PATTERN}``.
        opening: what a base model without a chat template goes on from.
    """

    shape: Mapping[str, Any]
    opening: str
    temperature: float
    top_p: float

    @property
    def drawn(self) -> dict[str, float]:
        """The parameters of sampling, as engines and endpoints name them."""
        return {"temperature": self.temperature, "top_p": self.top_p}


class Asks(Protocol):
    """Who asks a model: what is asked, what an answer is worth, and what is asked next. Backends know no more of it."""

    @property
    def config(self) -> QueriesConfig:
        """How the model is reached, and how long an answer may be."""

    @property
    def rounds(self) -> int:
        """How often a backend is called with requests, as a rule."""

    def messages(self, request: Request) -> list[Message]:
        """The system's and the user's message of a request."""

    def form(self, request: Request) -> Form:
        """Of the answer to a request."""

    def verdict(self, request: Request, answer: Answer) -> Verdict:
        """What the answer to a request is worth by itself."""

    def after(self, request: Request, verdict: Verdict) -> Request | None:
        """What to ask next, at once; None where the verdict stands."""

    def keyless(self) -> Self:
        """The same as a worker may have it in its arguments, which Ray logs: without the key of an endpoint."""


@dataclass(frozen=True)
class Asking:
    """How ``model`` is asked for queries. ``config`` and ``seed`` decide what, with the patent.

    Attributes:
        examples: queries of the user's own that a prompt shows, by its language: ``zh``, ``en``.
    """

    model: str
    config: QueriesConfig
    seed: int
    examples: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def rounds(self) -> int:
        """One an attempt."""
        return ATTEMPTS

    def keyless(self) -> Self:
        """See ``Asks``."""
        return replace(self, config=without_key(self.config))

    def form(self, request: Request) -> Form:
        """See ``Asks``; the same for all requests."""
        return Form({"json": ANSWER_SCHEMA}, OPENING, self.config.temperature, self.config.top_p)

    def request(
        self, patent: Patent, query_no: int, attempt: int = 0, *, longer: bool = False, style: Style | None = None
    ) -> Request:
        """The request for a patent's query number ``query_no``; ``style``: None: that of the patent in the mix."""
        config = self.config
        if style is None:
            style = choose_style(patent.number, query_no, config.mix, self.seed)
        kind = choose_kind(patent.number, query_no, config.kinds, self.seed)
        asked: list[Any] = [PROMPT_VERSION, self.model, kind, patent.language, patent.title, patent.abstract]
        asked += [config.temperature, config.top_p, config.max_tokens, config.max_prompt_chars]
        asked += [self.seed, query_no, attempt]
        asked += further_parameters(config)
        if style:
            asked.append({"style": asdict(style)})
        if examples := self._shown(patent):
            asked.append({"examples": list(examples)})
        if longer:
            asked.append({"room": room(config, longer=True)})
        key = text_key(json.dumps(asked, ensure_ascii=False))
        return Request(patent, query_no, kind, attempt, key, int(key[:7], 16), longer, style)

    def messages(self, request: Request) -> list[Message]:
        """The system's and the user's message of a request."""
        patent, limit = request.patent, self.config.max_prompt_chars
        told = (patent.title, patent.abstract, request.kind, patent.language, limit)
        return chat_messages(*told, request.style, self._shown(patent))

    def _shown(self, patent: Patent) -> Sequence[str]:
        return self.examples.get(prompt_language(patent.language), ())

    def verdict(self, request: Request, answer: Answer) -> Verdict:
        """What the answer to a request is worth by itself; whether others say the same is not asked here."""
        patent = request.patent
        if answer.error:
            return Verdict(reject=answer.error) if answer.error in CUT else Verdict(error=answer.error)
        query = clean_text(parse_answer(answer.text))  # as an exported cache is read back
        if not query:
            return Verdict(reject="no_query" if final_text(answer.text) else CUT[1])
        reason = reject_reason(query, patent.title, patent.abstract, patent.language, self.config)
        return Verdict(query, reason or self._parroted(query, request))

    def _parroted(self, query: str, request: Request) -> str:
        """Why a query is no query of its own: it repeats what its request says beside the patent."""
        patent, shown = request.patent, [plain(each) for each in self._shown(request.patent)]
        # One text of all, with what no plain text has between them.
        if shown and (plain(query) in shown or repeats(query, "\n".join(shown), patent.abstract, patent.language)):
            return "example_copied"
        told = plain(style_text(request.style, prompt_language(patent.language)))
        return "prompt_repeated" if told and repeats(query, told, patent.abstract, patent.language) else ""

    def after(self, request: Request, verdict: Verdict) -> Request | None:
        """What to ask next, at once: with more room after an answer that was cut short, with another seed after one
        that was rejected. None where the verdict stands."""
        if verdict.reject in CUT:
            return None if request.longer else self._again(request, request.attempt, longer=True)
        return self.another(request) if verdict.reject else None

    def another(self, request: Request) -> Request | None:
        """The same with another seed; None after the last attempt."""
        attempt = request.attempt + 1
        return self._again(request, attempt, longer=request.longer) if attempt < ATTEMPTS else None

    def moved(self, request: Request, *, harder: bool) -> Request | None:
        """``another``, further from the abstract's words, or nearer."""
        return self.another(replace(request, style=request.style.moved(harder)))

    def _again(self, request: Request, attempt: int, *, longer: bool) -> Request:
        return self.request(request.patent, request.query_no, attempt, longer=longer, style=request.style)


def room(config: QueriesConfig, *, longer: bool) -> int:
    """Tokens that an answer may have."""
    return max(2 * config.max_tokens, config.max_tokens_again) if longer else config.max_tokens


def further_parameters(config: QueriesConfig) -> list[dict[str, Any]]:
    """What is sent beside temperature and length, where anything is: a part of an answer's key."""
    further = config.llm.sampling if config.backend == "llm" else config.api.extra_body
    return [further] if further else []


def without_key(config: QueriesConfig) -> QueriesConfig:
    """Settings without the key of an endpoint."""
    return config.model_copy(update={"api": config.api.model_copy(update={"key": None})})
