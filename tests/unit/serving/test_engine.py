from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patent_embed.errors import UserError
from patent_embed.evaluation.search import exact_search
from patent_embed.evaluation.systems import Bm25
from patent_embed.serving.corpus import Filters
from patent_embed.serving.engine import Engine, Query
from tests.serving import engine, records

FOUND = records(150)
ALL = ("tuned", "base", "bm25", "hybrid")


def test_every_list_is_that_of_its_system(served: Engine) -> None:
    text = "带滤网和水泵的装置"
    answer = served.search(Query(text, systems=ALL, count=150))
    for name in ("tuned", "base"):
        query = served.models[name].encoder.query(text).result().vector
        scores, rows = exact_search(query[None], served.models[name].vectors, 150)
        assert [hit.row for hit in answer.lists[name]] == rows[0].tolist()
        assert [hit.score for hit in answer.lists[name]] == scores[0].tolist()
    scores, rows = Bm25([each["abstract"] for each in FOUND], [text]).search(np.array([0]), 150)
    assert [hit.row for hit in answer.lists["bm25"]] == rows[0][rows[0] >= 0].tolist()

    ranks = {name: {hit.row: hit.rank for hit in hits} for name, hits in answer.lists.items()}
    for name, hits in answer.lists.items():
        for hit in hits:
            assert hit.ranks == {other: ranks[other].get(hit.row) for other in ALL if other != name}
    for hit in answer.lists["hybrid"]:
        parts = [ranks[name][hit.row] for name in ("tuned", "bm25") if hit.row in ranks[name]]
        assert hit.score == pytest.approx(sum(1 / (60 + rank) for rank in parts), rel=1e-6)
    assert set(answer.marked) == {"滤网", "水泵"}  # all abstracts have the others


def test_filters_hold_for_all_systems(served: Engine) -> None:
    filters = Filters(ipc=("G06T",), date_from="2012", date_to="2016-05")
    fits = [
        row
        for row, each in enumerate(FOUND)
        if any(code.startswith("G06T") for code in each["codes"])
        and each["publication_date"]
        and "2012" <= each["publication_date"] <= "2016-05-99"
    ]
    answer = served.search(Query("水泵", systems=ALL, count=150, filters=filters))
    assert answer.patents == len(fits)
    for hits in answer.lists.values():
        assert {hit.row for hit in hits} <= set(fits)
    assert len(answer.lists["tuned"]) == len(fits)
    assert set(answer.facets) == {"subclass", "main group", "year"}
    assert {facet.patents for facet in answer.facets["subclass"] if facet.value == "G06T"} == {len(fits)}


def test_more_like_this_leaves_the_patent_itself_out(served: Engine) -> None:
    answer = served.search(Query(like="CN000012A", systems=ALL, count=149))
    vectors = served.models["tuned"].vectors
    _, rows = exact_search(vectors[12][None], vectors, 150)
    assert [hit.row for hit in answer.lists["tuned"]] == [row for row in rows[0].tolist() if row != 12]
    assert all(12 not in {hit.row for hit in hits} for hits in answer.lists.values())


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (Query("  "), "give a text"),
        (Query("a", like="CN000012A"), "and not both"),
        (Query(like="CN"), "'CN' is not in this corpus"),
        (Query("a", systems=("tuned", "bge")), r"\['bge'\] are not known here; choose from tuned, base, bm25, hybrid"),
    ],
)
def test_what_cannot_be_asked_is_said(served: Engine, query: Query, said: str) -> None:
    with pytest.raises(UserError, match=said):
        served.search(query)


def test_a_model_that_is_not_that_of_the_vectors_fails_its_check(served: Engine) -> None:
    served.check()
    tuned = served.models["tuned"]
    swapped = {"tuned": type(tuned)(tuned.encoder, tuned.search, tuned.vectors, "", served.models["base"].checks)}
    with pytest.raises(UserError, match="'tuned' does not belong to the vectors"):
        Engine(served.corpus, served._words, swapped).check()


def test_vectors_of_another_corpus_are_refused(served: Engine, tmp_path: Path, tiny_model: Path) -> None:
    other = engine(tmp_path, records(10), tiny_model)
    with pytest.raises(UserError, match=r"has 10 patents, but .*'words': 150"):
        Engine(other.corpus, served._words, other.models)
