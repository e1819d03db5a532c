from __future__ import annotations

import numpy as np
import pytest

from patent_embed.arrays import Vectors
from patent_embed.errors import UserError
from patent_embed.evaluation.search import merge_top_k, pair_scores
from patent_embed.serving.corpus import Corpus, Filters, write_corpus
from patent_embed.serving.vectors import VectorMatrix
from tests.serving import records, table

COUNT = 3000
VECTORS = np.random.default_rng(3).normal(size=(COUNT, 24)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
VECTORS[1000:1040] = VECTORS[7]  # ties, which go to the lower row
FILTERS = [Filters(), Filters(ipc=("G06T",)), Filters(ipc=("A47",), date_from="2014"), Filters(ipc=("B",))]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, [table(records(COUNT))])
    return Corpus(folder)


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Vectors:
    file = tmp_path_factory.mktemp("vectors") / "passages.npy"
    np.save(file, VECTORS)
    found: Vectors = np.load(file, mmap_mode="r")
    return found


def by_hand(corpus: Corpus, query: np.ndarray, k: int, filters: Filters) -> tuple[list[float], list[int]]:
    rows = np.arange(COUNT)
    scores = pair_scores(query[None], VECTORS, np.zeros(COUNT, np.int64), rows)
    mask = corpus.mask(filters)
    allowed = rows if mask is None else rows[mask]
    order = sorted(allowed.tolist(), key=lambda row: (-scores[row], row))[:k]
    return scores[order].tolist(), order


@pytest.mark.parametrize(("halves", "most_mapped"), [(False, 0), (True, 0), (True, 1 << 28)])
@pytest.mark.parametrize("rows_of_a_thread", [20_000, 500])
@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_it_is_what_a_plain_sort_gives(
    corpus: Corpus,
    filters: Filters,
    rows_of_a_thread: int,
    halves: bool,
    most_mapped: int,
    mapped: Vectors,
    monkeypatch,
) -> None:
    monkeypatch.setattr("patent_embed.serving.vectors._MOST_MAPPED", most_mapped)
    monkeypatch.setattr("patent_embed.serving.vectors._ROWS_OF_A_THREAD", rows_of_a_thread)
    matrix = VectorMatrix(corpus, mapped, "test", halves=halves)
    if halves:
        matrix.halving.join()
    futures = [(VECTORS[row], matrix.submit(VECTORS[row], k, filters)) for row, k in ((7, 60), (9, 5), (2999, 60))]
    for (query, future), k in zip(futures, (60, 5, 60), strict=True):
        scores, rows = future.result()
        assert (scores.tolist(), rows.tolist()) == by_hand(corpus, query, k, filters)


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_shards_merge_to_the_whole(corpus: Corpus, filters: Filters) -> None:
    shards = [VectorMatrix(corpus, VECTORS[a:b], "test", a) for a, b in ((0, 800), (800, 1020), (1020, COUNT))]
    found = [shard.submit(VECTORS[7], 50, filters).result() for shard in shards]
    scores, rows = merge_top_k([(scores[None], rows[None]) for scores, rows in found], 50)
    assert (scores[0].tolist(), rows[0].tolist()) == by_hand(corpus, VECTORS[7], 50, filters)


def test_vectors_that_are_no_numbers_are_refused(corpus: Corpus) -> None:
    broken = VECTORS.copy()
    broken[5, 5] = np.nan
    with pytest.raises(UserError, match="'tuned' cannot be searched: a document embedding holds NaN"):
        VectorMatrix(corpus, broken, "tuned")
