"""A benchmark of one's own patents: queries of four kinds, and what answers them.

A title, a written query or a first claim asks for its own patent, and the patent's family is right, too. A citing
patent (its title and abstract) asks for what it cites, with the families of that; its own family is no candidate.
Documents are what is searched of a patent (``model.passage_view``); what is a part of them is no query, since it would
be the answer to itself. A cited patent is IN the domain of the citing one where they share a three-character class of
the classification (``G06``), else OUT (Ayaou et al., DAPFAM, 2025). Its grade is ``PREJUDICIAL_GRADE`` where a search
report gives it the category X or Y, and 1 otherwise, as all other answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.benchmark.overlap import WordOverlap, band
from patent_embed.benchmark.tables import TEST
from patent_embed.errors import UserError
from patent_embed.evaluation.bm25 import Bm25Index
from patent_embed.ipc import domain
from patent_embed.queries.sources import RULES
from patent_embed.relevance.citations import PREJUDICIAL, CitedRows
from patent_embed.text import unspaced

TITLE, WRITTEN, CLAIM, CITING = "title", "query", "claim", "citing"
KINDS = (TITLE, WRITTEN, CLAIM, CITING)
IN, OUT = "in", "out"
ASKED_BY = {"title": TITLE, "claim": CLAIM, "claims": CLAIM}  # a field of what is searched, and the queries it answers
PREJUDICIAL_GRADE = 2
ALL = "all"  # instead of a split: every patent asks


@dataclass(frozen=True)
class Patent:
    """What is needed of a patent.

    Attributes:
        id: its publication number, as the formats take it.
        text: what is searched of it.
    """

    id: str
    title: str
    abstract: str
    text: str
    family: str
    split: str
    codes: Sequence[str] = ()
    claims: Sequence[str] = ()
    citations: Sequence[str] = ()
    language: str = ""
    categories: Sequence[str] | None = None  # of each citation

    @property
    def domains(self) -> set[str]:
        """Three-character classes."""
        return {domain(code) for code in self.codes}


@dataclass
class Made:
    """A benchmark to write.

    Attributes:
        documents, queries: lines of BEIR's ``corpus.jsonl`` and ``queries.jsonl``.
        qrels: split (``TEST`` and its parts) → query, document, grade.
        excluded: a query and a document that is no candidate of it.
        counts: what is in it, and what of the patents could not be used.
    """

    documents: list[dict[str, Any]] = field(default_factory=list)
    queries: list[dict[str, Any]] = field(default_factory=list)
    qrels: dict[str, list[tuple[str, str, int]]] = field(default_factory=lambda: defaultdict(list))
    excluded: list[tuple[str, str]] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def patents_of(corpus: pa.Table, texts: pa.ChunkedArray, splits: pa.Table) -> list[Patent]:
    """The patents of a run, in the order of their numbers.

    Args:
        corpus: ``publication_number, title, abstract, codes, language, claims, citations``, and where it has them
            ``citation_categories``.
        texts: what is searched of each.
        splits: ``publication_number, family, split``, the same rows.
    """
    found = []
    for row, text, about in zip(corpus.to_pylist(), texts.to_pylist(), splits.to_pylist(), strict=True):
        patent = Patent(
            id=plain_id(row["publication_number"]),
            title=row["title"] or "",
            abstract=row["abstract"],
            text=text,
            family=about["family"],
            split=about["split"],
            codes=row["codes"] or (),
            claims=row["claims"] or (),
            citations=row["citations"] or (),
            categories=row.get("citation_categories"),
            language=row["language"] or "",
        )
        found.append(patent)
    return found


def plain_id(number: str) -> str:
    """A publication number without white space."""
    return unspaced(number.strip())


def make(
    patents: Sequence[Patent], written: Mapping[str, Sequence[str]], split: str, kinds: Collection[str] = KINDS
) -> Made:
    """A benchmark of ``patents``, all of which are candidates.

    Args:
        written: publication number → queries that a person or a model wrote for it.
        split: whose patents ask; ``ALL``: those of every split.
        kinds: of queries.

    Raises:
        UserError: no query of these kinds can be made.
    """
    made, families, by_id = Made(), _families(patents), {patent.id: patent for patent in patents}
    made.documents = [_document(patent) for patent in patents]
    overlap = WordOverlap(Bm25Index.build(patent.text for patent in patents))

    def ask(patent: Patent, kind: str, name: str, text: str, right: Mapping[str, int]) -> None:
        answers = [by_id[each] for each in right]
        _ask(made, patent, (kind, name, text), answers, right, overlap.of(text, (each.text for each in answers)))

    known = CitedRows([patent.id for patent in patents])
    outside = 0
    for patent in patents:
        if split not in (patent.split, ALL):
            continue
        for kind, name, text in _known_items(patent, written.get(patent.id, ())):
            if kind in kinds:
                ask(patent, kind, name, text, dict.fromkeys((each.id for each in families[patent.family]), 1))
        outside += sum(known.row(number) is None for number in patent.citations)
        right = dict[str, int]()
        for row, category in known.answers(patent.citations, patent.categories).items():
            grade = PREJUDICIAL_GRADE if PREJUDICIAL & set(category) else 1
            for each in families[patents[row].family]:
                if each.family != patent.family:
                    right[each.id] = max(grade, right.get(each.id, 0))
        if right and CITING in kinds:
            ask(patent, CITING, patent.id, f"{patent.title} {patent.abstract}".strip(), right)
            made.excluded += [(patent.id, each.id) for each in families[patent.family]]
    if not made.queries:
        raise UserError(
            f"no query of kind {', '.join(kinds)} can be made of the {split!r} patents: they have neither titles nor "
            "claims, nobody wrote queries for them, and none cites another; set --split all, or other --kinds"
        )
    asked = {each["metadata"]["kind"] for each in made.queries}
    if len(asked) == 1:  # all queries, once more
        del made.qrels[f"{TEST}_{asked.pop()}"]
    made.counts = {
        "documents": len(patents),
        "queries": len(made.queries),
        **{f"queries_{kind}": sum(each["metadata"]["kind"] == kind for each in made.queries) for kind in KINDS},
        "citations_outside": outside,
    }
    return made


def kinds_for(fields: Collection[str], wanted: Collection[str] | None) -> list[str]:
    """The kinds of queries that may ask, where ``fields`` of a patent are searched; ``wanted``: None: all such.

    Raises UserError where a wanted one would be the answer to itself.
    """
    shown = {ASKED_BY[name]: name for name in fields if name in ASKED_BY}
    if odd := [kind for kind in wanted or () if kind in shown]:
        raise UserError(
            f"--kinds {odd[0]} would ask with the {shown[odd[0]]}, which is a part of what is searched "
            "(model.passage_view), so every such query would find itself; leave that kind out"
        )
    return [kind for kind in wanted or KINDS if kind not in shown]


def _known_items(patent: Patent, written: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Kind, id and text of the queries that ask for a patent itself."""
    if patent.title:
        yield TITLE, f"{patent.id}#{TITLE}", patent.title
    for number, text in enumerate(written):
        yield WRITTEN, f"{patent.id}#{WRITTEN}-{number}", text
    if patent.claims:
        yield CLAIM, f"{patent.id}#{CLAIM}", patent.claims[0]


def _ask(
    made: Made,
    patent: Patent,
    asked: tuple[str, str, str],
    right: Sequence[Patent],
    grade: Mapping[str, int],
    share: float,
) -> None:
    """Add a query, ``asked``: its kind, name and text, whose overlap with what is ``right`` is ``share``, and its
    judgements."""
    kind, name, text = asked
    about = {
        "kind": kind,
        "prompt": "passage" if kind == CITING else "query",  # patents on both sides: a symmetric task
        "publication_number": patent.id,
        "language": patent.language,
        "section": patent.codes[0][:1] if patent.codes else "",
        "word_overlap": band(share),
        "overlap": round(share, 4),
    }
    made.queries.append({"_id": name, "text": text, "metadata": about})
    for document in sorted(each.id for each in right):
        made.qrels[TEST].append((name, document, grade[document]))
        made.qrels[f"{TEST}_{kind}"].append((name, document, grade[document]))
    if kind == CITING:
        for each in sorted(right, key=lambda each: each.id):
            part = IN if each.domains & patent.domains else OUT
            made.qrels[f"{TEST}_{part}"].append((name, each.id, grade[each.id]))


def _document(patent: Patent) -> dict[str, Any]:
    about = {"title": patent.title, "codes": list(patent.codes), "family": patent.family, "language": patent.language}
    return {"_id": patent.id, "title": "", "text": patent.text, "metadata": about}


def _families(patents: Sequence[Patent]) -> dict[str, list[Patent]]:
    families: dict[str, list[Patent]] = defaultdict(list)
    for patent in patents:
        families[patent.family].append(patent)
    return families


def written_queries(queries: pa.Table) -> dict[str, list[str]]:
    """Publication number → its queries, without those of rules. ``queries``: ``publication_number, query, source``."""
    kept = queries.filter(pc.not_equal(queries["source"], RULES))
    found: dict[str, list[str]] = defaultdict(list)
    for row in kept.select(["publication_number", "query"]).to_pylist():
        found[plain_id(row["publication_number"])].append(row["query"])
    return found
