"""The pairs that sources of relevance find in a corpus, as one table, and which patents are no negatives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import pyarrow as pa

from patent_embed.config.relevance import RelevanceConfig
from patent_embed.data.schemas import LINKS, RELEVANCE
from patent_embed.hashing import hash64
from patent_embed.relevance.base import GRADED, SOURCES, Pair, Patents, Source
from patent_embed.relevance.citations import CITATIONS
from patent_embed.relevance.judge import JUDGE

TRAIN = "train"


@dataclass(frozen=True)
class Relevance:
    """What is known of a corpus.

    Attributes:
        table: the columns of ``RELEVANCE``, source by source, each in the order of the patents.
        links: the columns of ``LINKS``; each pair stands there once.
        report: source → ``pairs``, those of a ``train`` patent and of others, and why further ones are not used:
            ``same_family``, ``over_limit`` (``relevance.answers_per_patent``), ``answer_held_out`` (a pair of a train
            patent whose answer is in val or test: it is in the table, but trains nothing), ``grade_0`` (it is no
            answer, and no negative); and the labels of pairs, where their source has any.
    """

    table: pa.Table
    links: pa.Table
    report: dict[str, dict[str, int]]


def columns_of(config: RelevanceConfig) -> list[str]:
    """Columns of the corpus that ``find_relevance`` reads, but ``GRADED``, which is of no corpus."""
    names = [name for source in _used(config) for name in source.columns if name != GRADED]
    return list(dict.fromkeys(["publication_number", *CITATIONS.columns, *names]))


def find_relevance(corpus: pa.Table, splits: pa.Table, config: RelevanceConfig, seed: int) -> Relevance:
    """All pairs of the sources that have a weight.

    Links are the citations of the corpus and what a judge found, whether they are trained on or not, and the pairs of
    two patents.

    Args:
        corpus: ``columns_of``, rows as in ``splits``; with ``GRADED`` where a judge was asked.
        splits: ``publication_number, family, split``.
    """
    given = Patents(
        corpus["publication_number"].to_pylist(),
        {name: corpus[name].to_pylist() for name in corpus.column_names if name != "publication_number"},
    )
    family, split = splits["family"].to_pylist(), splits["split"].to_pylist()
    cited = list(CITATIONS.pairs(replace(given, settings=CITATIONS.settings_of(config))))
    judged = list(JUDGE.pairs(given)) if GRADED in given.columns else []
    known = [*cited, *judged]
    links = {(pair.asking, pair.answering) for pair in known if family[pair.asking] != family[pair.answering]}
    found = {CITATIONS.name: cited, JUDGE.name: judged}
    tables, report = list[pa.Table](), dict[str, dict[str, int]]()
    for source in _used(config):
        counts: Counter[str] = Counter()
        settings = source.settings_of(config)
        pairs = found[source.name] if source.name in found else source.pairs(replace(given, settings=settings))
        kept = list(_kept(_linking(pairs, family, links), given, family, config.answers_per_patent, seed, counts))
        links |= {(pair.asking, pair.answering) for pair in kept if pair.asking != pair.answering}
        tables.append(_table(source, kept, given, split))
        trains = sum(tables[-1]["trains"].to_pylist())
        asked = Counter(split[pair.asking] for pair in kept)
        report[source.name] = {
            "pairs": len(kept),
            TRAIN: trains,
            "others": len(kept) - asked[TRAIN],
            "answer_held_out": asked[TRAIN] - trains,
            **counts,
        }
    once = sorted({(min(pair), max(pair)) for pair in links})
    numbers = [[given.numbers[row] for row in side] for side in zip(*once, strict=True)] or [[], []]
    return Relevance(pa.concat_tables([RELEVANCE.empty_table(), *tables]), pa.table(numbers, schema=LINKS), report)


def _used(config: RelevanceConfig) -> list[Source]:
    return [source for source in SOURCES if source.name in config.weights()]


def _linking(pairs: Iterable[Pair], family: list[str], links: set[tuple[int, int]]) -> Iterator[Pair]:
    """The pairs as they come; those of grade 0, which are in no table, are among the ``links``."""
    for pair in pairs:
        if not pair.grade and family[pair.asking] != family[pair.answering]:
            links.add((pair.asking, pair.answering))
        yield pair


def _kept(
    pairs: Iterable[Pair], given: Patents, family: list[str], most: int, seed: int, counts: Counter[str]
) -> Iterator[Pair]:
    """Pairs without those of two patents of one family and those of grade 0, ``most`` of a patent, the others counted;
    and the labels of all that are kept."""
    for asking, group in groupby(pairs, key=lambda pair: pair.asking):
        found = list(group)
        kept = [pair for pair in found if pair.answering == asking or family[pair.answering] != family[asking]]
        counts["same_family"] += len(found) - len(kept)
        if nothing := sum(not pair.grade for pair in kept):
            counts["grade_0"] += nothing
            kept = [pair for pair in kept if pair.grade]
        if len(kept) > most:
            counts["over_limit"] += len(kept) - most
            name = given.numbers[asking]
            keys = [
                hash64(f"{name} {given.numbers[pair.answering]} {i}", seed, "answers") for i, pair in enumerate(kept)
            ]
            kept = [kept[i] for i in sorted(sorted(range(len(kept)), key=keys.__getitem__)[:most])]
        counts.update(pair.label for pair in kept if pair.label)
        yield from kept


def _table(source: Source, pairs: list[Pair], given: Patents, split: list[str]) -> pa.Table:
    columns = {
        "publication_number": [given.numbers[pair.asking] for pair in pairs],
        "query": [pair.query for pair in pairs],
        "kind": [source.kind] * len(pairs),
        "patent": [given.numbers[pair.answering] for pair in pairs],
        "answer": [pair.answer for pair in pairs],
        "grade": [pair.grade for pair in pairs],
        "source": [source.name] * len(pairs),
        "split": [split[pair.asking] for pair in pairs],
        "trains": [split[pair.asking] == split[pair.answering] == TRAIN for pair in pairs],
    }
    return pa.table(columns, schema=RELEVANCE)
