"""The pages: rendered here, whole without a script, and the two files that they load. A link reproduces a search."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request

from patent_embed import __version__
from patent_embed.data.cleaning import detect_language
from patent_embed.errors import UserError
from patent_embed.serving import openapi
from patent_embed.serving.corpus import Filters
from patent_embed.serving.engine import BM25, DEPTH, HYBRID, Answer, Engine, Query
from patent_embed.serving.facts import RunFacts
from patent_embed.serving.highlight import pieces
from patent_embed.serving.live import Live
from patent_embed.serving.messages import DAY, IPC
from patent_embed.serving.phrases import LANGUAGES, PHRASES, chosen

_FOLDER = Path(__file__).parent / "static"
STATIC = {
    "search.css": ((_FOLDER / "search.css").read_bytes(), "text/css; charset=utf-8"),
    "search.js": ((_FOLDER / "search.js").read_bytes(), "text/javascript; charset=utf-8"),
}
"""Name → content and media type."""

MOST_CHARS_OF_A_LINK = 20_000
"""Characters of a query that a link holds: nine bytes each, where they are Chinese."""

_VERSION = hashlib.sha256(b"".join(content for content, _ in STATIC.values())).hexdigest()[:12]
_RESULTS = 10
_MOST_FILTERS = 20


@dataclass(frozen=True)
class Link:
    """What a link of the page says, and links that say a little more or less.

    Attributes:
        q: the text searched for.
        like: instead of it, a patent's number.
        ipc, date_from, date_to: the filters.
        hybrid: whether its list is wanted.
        lang: of the page, where the link says it.
    """

    q: str = ""
    like: str = ""
    ipc: tuple[str, ...] = ()
    date_from: str = ""
    date_to: str = ""
    hybrid: bool = False
    lang: str = ""

    @classmethod
    def of(cls, request: Request) -> Link:
        """From a request; what is no filter is left out."""
        given = request.query_params
        ipc = dict.fromkeys(each.strip().upper().replace(" ", "") for each in given.getlist("ipc"))
        return cls(
            given.get("q", "").strip(),
            given.get("like", "")[:200],
            tuple(each for each in ipc if IPC.fullmatch(each))[:_MOST_FILTERS],
            _day(given.get("from", "")),
            _day(given.get("to", "")),
            given.get("hybrid") == "1",
            given.get("lang", "")[:2],
        )

    def pairs(self) -> list[tuple[str, str]]:
        """Names and values of its parts that say something."""
        plain = [("q", self.q), ("like", self.like), *(("ipc", each) for each in self.ipc)]
        plain += [("from", self.date_from), ("to", self.date_to), ("hybrid", "1" if self.hybrid else "")]
        return [(name, value) for name, value in [*plain, ("lang", self.lang)] if value]

    def but(self, **changes: Any) -> str:
        """The address of the page with some parts changed."""
        return "/?" + urlencode(Link(**(vars(self) | changes)).pairs(), quote_via=quote)

    @property
    def filters(self) -> Filters:
        """As the engine takes them."""
        return Filters(self.ipc, self.date_from, self.date_to)

    @property
    def asks(self) -> bool:
        """Whether there is something to search for."""
        return bool(self.q or self.like)


def search_page(live: Live, request: Request) -> str:
    """The page of a request: the form, and the results where it asks for some."""
    engine, link = live.engine, Link.of(request)
    systems = [*([HYBRID] if link.hybrid and HYBRID in engine.systems else []), *engine.models, BM25]
    answer, wrong = None, ""
    if len(link.q) > MOST_CHARS_OF_A_LINK:
        wrong = _says(_phrases(request)["too_long"], count=f"{len(link.q):,}", most=f"{MOST_CHARS_OF_A_LINK:,}")
    elif link.asks:
        try:
            text = "" if link.like else link.q
            answer = engine.search(Query(text, link.like, tuple(systems), _RESULTS, link.filters))
        except UserError as error:
            wrong = str(error)
    if answer is not None:
        for stage, seconds in answer.seconds.items():
            live.metrics.stages.labels(stage).observe(seconds)
    phrases = _phrases(request)
    facts = engine.about if isinstance(engine.about, RunFacts) else RunFacts()
    given = {
        "link": link,
        "answer": answer,
        "wrong": wrong,
        "lists": _columns(engine, answer, live, link) if answer else [],
        "facts": facts,
        "best": phrases.get(engine.best, engine.best),
        "can_fuse": HYBRID in engine.systems,
        "dated": engine.corpus.dated,
        "size": len(engine.corpus),
        "judging": live.judgements is not None,
        "saying": orjson.dumps({key: phrases[key] for key in _SAID_BY_SCRIPT}).decode(),
        "seconds": round(sum(answer.seconds.values()), 3) if answer else 0,
    }
    return _filled("search.html.jinja", request, given)


def login_page(request: Request, *, wrong: bool) -> str:
    """The page that asks for the token."""
    return _filled("login.html.jinja", request, {"wrong": wrong})


def docs_page(request: Request) -> str:
    """The OpenAPI document for people."""
    document = openapi.document()
    schemas = {
        name: orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
        for name, schema in document["components"]["schemas"].items()
    }
    return _filled("docs.html.jinja", request, {"operations": openapi.OPERATIONS, "schemas": schemas})


_SAID_BY_SCRIPT = (
    *("saved", "not_saved", "publication_number", "applicants", "codes", "publication_date", "claims"),
    *("description", "citations", "family_id"),
)


def _columns(engine: Engine, answer: Answer, live: Live, link: Link) -> list[tuple[str, list[dict[str, Any]]]]:
    """(system, results as the template takes them), with the other lists' ranks in the order of the columns."""
    order = list(answer.lists)
    columns = []
    names = ("publication_number", "title", "abstract", "codes", "publication_date", "language")
    for system, hits in answer.lists.items():
        records = engine.corpus.records([hit.row for hit in hits], *names)
        shown = []
        for hit, record in zip(hits, records, strict=True):
            number, others = record["publication_number"], [name for name in order if name != system]
            kept = live.judgements.verdict(link.q, number) if live.judgements and link.q else None
            shown.append(
                record
                | {"rank": hit.rank, "others": [(name, hit.ranks.get(name)) for name in others]}
                | {"title_pieces": pieces(record["title"] or number, answer.marked)}
                | {"abstract_pieces": pieces(record["abstract"] or "", answer.marked), "relevant": kept}
            )
        columns.append((system, shown))
    return columns


def _phrases(request: Request) -> Mapping[str, str]:
    return PHRASES[chosen(request.query_params.get("lang", ""), request.headers.get("accept-language", ""))]


def _filled(name: str, request: Request, given: Mapping[str, Any]) -> str:
    language = chosen(request.query_params.get("lang", ""), request.headers.get("accept-language", ""))
    shared = {"t": PHRASES[language], "language": language, "languages": LANGUAGES, "depth": DEPTH}
    about = {"static_version": _VERSION, "version": __version__}
    return _environment().get_template(name).render(shared | about | dict(given))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("patent_embed.serving", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": "{:,}".format, "says": _says, "language": _language}
    return environment


def _says(text: str, **given: Any) -> str:
    return text.format(**given)


def _language(texts: str | Sequence[str] | None) -> str:
    """The value of an HTML ``lang`` for a text of a patent."""
    text = texts if isinstance(texts, str) else "".join(texts or ())
    found = detect_language(text) if text else "other"
    return "" if found == "other" else found


def _day(text: str) -> str:
    """A day of a link, or nothing where it is none."""
    return text if DAY.fullmatch(text) else ""
