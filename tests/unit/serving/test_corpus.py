from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patent_embed.serving.corpus import Corpus, Filters, write_corpus
from tests.serving import records, table

FOUND = records(150)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    whole = table(FOUND)
    assert write_corpus(folder, [whole.slice(0, 70), whole.slice(70, 1), whole.slice(71)]) == 150
    return Corpus(folder)


def test_records_come_back_whole(corpus: Corpus) -> None:
    rows = [149, 0, 64, 63, 64]
    for row, shown in zip(rows, corpus.records(rows), strict=True):
        assert {name: shown[name] for name in FOUND[row]} == FOUND[row]
    assert corpus.records([3], "title") == [{"title": FOUND[3]["title"]}]
    assert corpus.row("CN000063A") == 63
    assert corpus.row("CN") is None
    assert corpus.dated


@pytest.mark.parametrize(
    ("ipc", "has"),
    [
        (("G",), lambda code: code.startswith("G")),
        (("G06T",), lambda code: code.startswith("G06T")),
        (("G06T3",), lambda code: code.startswith("G06T3/")),
        (("G06T3/40",), lambda code: code == "G06T3/40"),
        (("G06F", "A47"), lambda code: code.startswith(("G06F", "A47"))),
        (("B",), lambda code: False),
    ],
)
def test_ipc_filters(corpus: Corpus, ipc: tuple[str, ...], has) -> None:
    mask = corpus.mask(Filters(ipc=ipc))
    assert mask is not None
    assert mask.tolist() == [any(map(has, each["codes"])) for each in FOUND]


@pytest.mark.parametrize(
    ("begin", "end"),
    [("2015", ""), ("", "2015"), ("2012-03", "2016-06-15"), ("2014-05-15", "2014-05-15"), ("2017", "2011")],
)
def test_date_filters(corpus: Corpus, begin: str, end: str) -> None:
    mask = corpus.mask(Filters(date_from=begin, date_to=end))
    assert mask is not None
    dates = [each["publication_date"] for each in FOUND]
    assert mask.tolist() == [
        date is not None and begin <= date and (not end or date[: len(end)] <= end) for date in dates
    ]


def test_no_filters_are_no_mask(corpus: Corpus) -> None:
    assert corpus.mask(Filters()) is None


def test_facets_count_results_and_patents(corpus: Corpus) -> None:
    rows, mask = [1, 5, 9, 77], corpus.mask(Filters(date_from="2013"))
    for level, value in (("subclass", lambda c: c[:4]), ("main group", lambda c: c.partition("/")[0])):
        values = [{value(code) for code in each["codes"]} for each in FOUND]
        for facet in corpus.facets(rows, mask, level):
            assert facet.results == sum(facet.value in values[row] for row in rows)
            assert mask is not None
            assert facet.patents == sum(facet.value in values[row] for row in np.flatnonzero(mask))
        unfiltered = {facet.value: facet.patents for facet in corpus.facets(rows, None, level)}
        assert unfiltered.keys() == set.union(*(values[row] for row in rows))
        assert unfiltered == {value: sum(value in each for each in values) for value in unfiltered}
    years = corpus.facets(rows, None, "year")
    dated = [FOUND[row]["publication_date"] for row in rows if FOUND[row]["publication_date"]]
    assert sorted(facet.value for facet in years) == sorted({date[:4] for date in dated})
    assert sum(facet.results for facet in years) == len(dated)


def test_a_corpus_may_be_empty_and_have_neither_codes_nor_dates(tmp_path: Path) -> None:
    for name, found in (("empty", []), ("plain", [{"publication_number": "A", "abstract": "水泵"}])):
        (tmp_path / name).mkdir()
        assert write_corpus(tmp_path / name, [table(found)]) == len(found)
        corpus = Corpus(tmp_path / name)
        assert not corpus.dated
        assert corpus.facets(range(len(found)), None, "subclass") == []
        mask = corpus.mask(Filters(ipc=("G",)))
        assert mask is not None
        assert mask.tolist() == [False] * len(found)
