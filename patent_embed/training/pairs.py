"""From the table of relevance to triplets beside those of queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.arrays import Rows, rows_of
from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.packing import Tokens
from patent_embed.errors import UserError
from patent_embed.losses.base import link_keys
from patent_embed.relevance.base import OWN, SOURCES
from patent_embed.training.data import TripletData
from patent_embed.training.mixture import Mixture
from patent_embed.training.validation import Limit, RetrievalSet, shares_main_group


@dataclass(frozen=True)
class Known:
    """What is known of a corpus, for training.

    Attributes:
        corpus: ``publication_number, codes``, and of each patent its passage, ``abstract``.
        splits: ``publication_number, split``, rows as in ``corpus``.
        family: (patents,) the number of each patent's family: ``training_families``.
        table: the columns of ``data.schemas.RELEVANCE``.
        links: the columns of ``data.schemas.LINKS``.
    """

    corpus: pa.Table
    splits: pa.Table
    family: Rows
    table: pa.Table
    links: pa.Table

    def rows(self, column: pa.ChunkedArray) -> Rows:
        """The row of each publication number."""
        return rows_of(column, self.corpus["publication_number"])

    def passages(self, rows: Rows) -> list[str]:
        """What is searched of some patents."""
        found: list[str] = self.corpus["abstract"].take(pa.array(rows)).to_pylist()
        return found

    def linked(self) -> np.ndarray:
        """(2, l) families that are no negatives of one another, both ways round, each pair once, in order."""
        pairs = np.stack([self.family[self.rows(self.links[name])] for name in self.links.column_names])
        return np.unique(np.concatenate([pairs, pairs[::-1]], axis=1), axis=1)


def with_relevance(
    encoder: Encoder, own: TripletData, known: Known, weights: Mapping[str, float]
) -> tuple[TripletData, dict[str, int]]:
    """The triplets of queries, ``own``, and those of the table that train, as one mixture; and how many each source
    has. A triplet of the table has no mined negative: its negative is its positive, as in ``build_triplets``.

    ``linked_negatives`` counts the mined negatives of queries that a link, such as a citation, takes away.

    Raises UserError where no source has a pair that may be trained on.
    """
    linked = known.linked()
    kept, refused = _without_linked(own, linked)
    parts, sources, grades = list[TripletData](), list(weights), list[np.ndarray]()
    for name in sources:
        if name == OWN:
            parts.append(kept)
            grades.append(np.ones(len(kept.triplets), np.float32))
            continue
        chosen = known.table.filter(pc.and_(pc.equal(known.table["source"], name), known.table["trains"]))
        parts.append(_triplets(encoder, known, chosen))
        grades.append(chosen["grade"].to_numpy())
    sizes = [len(grade) for grade in grades]
    mixture = Mixture(
        source=np.repeat(np.arange(len(sources)), sizes),
        grade=np.concatenate(grades).astype(np.float32),
        passes=np.array(list(weights.values()), np.float64),
        linked=linked,
    )
    if not mixture.sizes().sum():
        raise UserError(
            f"nothing is left to train on: of {', '.join(sources)} (relevance) no pair is of train alone; give "
            "a weight to another source, as relevance.halves=1, which needs abstracts alone"
        )
    counts = dict(zip(sources, sizes, strict=True)) | {"linked_negatives": refused}
    return _joined(parts, mixture), counts


def _without_linked(own: TripletData, linked: np.ndarray) -> tuple[TripletData, int]:
    """Mined negatives that are linked to what asks are no negatives: the positive stands in their place."""
    asking, positive, negative = own.triplets.T
    wrong = np.isin(link_keys(own.family[asking], own.family[negative]), link_keys(*linked))
    triplets = np.column_stack([asking, positive, np.where(wrong, positive, negative)])
    return TripletData(own.tokens, triplets, own.family), int(wrong.sum())


def _triplets(encoder: Encoder, known: Known, pairs: pa.Table) -> TripletData:
    """Triplets of some rows of the table, all of one source: every distinct text once, asking ones by their prompt."""
    texts: dict[tuple[str, int, str | None], int] = {}  # kind, patent and text (None: its passage) → row
    sides = []
    for patent, text, kind in (("publication_number", "query", "kind"), ("patent", "answer", "")):
        rows = known.rows(pairs[patent]).tolist()
        kinds = pairs[kind].to_pylist() if kind else ["passage"] * len(rows)
        side = list[int]()
        for key in zip(kinds, rows, pairs[text].to_pylist(), strict=True):
            number = texts.setdefault(key, len(texts))
            side.append(number)
        sides.append(side)
    whole = iter(known.passages(np.array([row for _, row, text in texts if text is None], np.int64)))
    strings = [next(whole) if text is None else text for _, _, text in texts]
    kinds = [kind for kind, _, _ in texts]
    tokens = _tokenized(encoder, strings, kinds)
    asking, answer = (np.array(side, np.int64) for side in sides)
    owner = np.array([row for _, row, _ in texts], np.int64)
    return TripletData(tokens, np.column_stack([asking, answer, answer]), known.family[owner])


def _tokenized(encoder: Encoder, texts: list[str], kinds: list[str]) -> Tokens:
    """Texts of both kinds, in their order."""
    order = np.argsort(np.array(kinds, object) == "query", kind="stable")  # passages first
    passages = [texts[i] for i in order.tolist() if kinds[i] != "query"]
    queries = [texts[i] for i in order.tolist() if kinds[i] == "query"]
    tokens = Tokens.concat([encoder.tokenize(passages, "passage"), encoder.tokenize(queries, "query")])
    return tokens.take(np.argsort(order, kind="stable"))


def _joined(parts: list[TripletData], mixture: Mixture) -> TripletData:
    """Behind one another, as one token store."""
    before = np.cumsum([0, *(len(part.tokens) for part in parts[:-1])])
    return TripletData(
        tokens=Tokens.concat([part.tokens for part in parts]),
        triplets=np.concatenate([part.triplets + first for part, first in zip(parts, before.tolist(), strict=True)]),
        family=np.concatenate([part.family for part in parts]),
        mixture=mixture,
    )


def linked_rows(known: Known, split: str) -> tuple[Rows, Rows]:
    """Rows of patents of ``split`` and of those that a source which measures links them to, passage to passage:
    (pairs,) each."""
    measuring = pa.array([source.name for source in SOURCES if source.measures])
    table = known.table.filter(pc.is_in(known.table["source"], value_set=measuring))
    others = pc.and_(pc.equal(table["split"], split), pc.not_equal(table["publication_number"], table["patent"]))
    pairs = table.filter(pc.and_(others, pc.and_(pc.is_null(table["query"]), pc.is_null(table["answer"]))))
    return known.rows(pairs["publication_number"]), known.rows(pairs["patent"])


def rule_share(ruled: float, triplets: Mapping[str, int], weights: Mapping[str, float]) -> float:
    """The share of rule queries in an epoch of all sources. ``ruled``: in the queries; ``triplets``: of each source."""
    seen = {name: weight * triplets[name] for name, weight in weights.items()}
    return ruled * seen.get(OWN, 0.0) / max(sum(seen.values()), 1e-9)


def linked_set(encoder: Encoder, known: Known, split: str, limit: Limit | None = None) -> RetrievalSet:
    """The patents of ``split`` that a source links to others, which are to be found by their passage, among those of
    the split and of the main groups asked for, as in ``build_retrieval_set``."""
    asking, answer = linked_rows(known, split)
    always = pc.equal(known.splits["split"], split).to_numpy(zero_copy_only=False)
    near = shares_main_group(lambda: [known.corpus["codes"]], asking)
    always[answer] = True
    asked, query = np.unique(asking, return_inverse=True)
    searched = np.flatnonzero(always | near)
    if limit is not None:
        searched = limit.applied(searched, always, known.corpus["publication_number"])
    return RetrievalSet(
        queries=encoder.tokenize(known.passages(asked), "passage"),
        passages=encoder.tokenize(known.passages(searched), "passage"),
        query_family=known.family[asked],
        passage_family=known.family[searched],
        links=np.unique(np.column_stack([query, np.searchsorted(searched, answer)]), axis=0),
    )
