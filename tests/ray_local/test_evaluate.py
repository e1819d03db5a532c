"""Evaluation: the search in shards on Ray Data gives the result of a search in one piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patent_embed.artifacts import Artifact, ArtifactStore, Outcome, Step
from patent_embed.evaluation.systems import EmbeddingSystem
from patent_embed.folders import folder_at
from patent_embed.progress.events import ShardsSearched
from pipelines.engine import ignore
from pipelines.steps.evaluate import ShardedSystem, _search_shard, encoder_system
from tests.evidence import unit

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


def embedded(store: ArtifactStore, passages: np.ndarray) -> Artifact:
    def work(folder: Path) -> Outcome:
        np.save(folder / "passages.npy", passages)
        return Outcome()

    return store.run(Step("embed-x", 1, {}, {}), work)


def passages_and_queries() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return unit(rng.normal(size=(200, 16)))[rng.integers(0, 200, 1000)], unit(rng.normal(size=(30, 16)))


@pytest.mark.parametrize("shard_rows", [None, 7, 5000])
def test_shards_give_what_one_search_gives(tmp_path: Path, shard_rows: int | None) -> None:
    passages, queries = passages_and_queries()
    seen: list[ShardsSearched] = []
    system = ShardedSystem(
        queries,
        embedded(ArtifactStore(folder_at(tmp_path)), passages),
        shard_rows,
        seen.append,
    )
    chosen = np.array([3, 1, 29])
    scores, rows = system.search(chosen, 10)
    expected_scores, expected_rows = EmbeddingSystem(queries, passages).search(chosen, 10)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)
    assert [(each.done, each.total) for each in seen] == [(i + 1, len(seen)) for i in range(len(seen))]
    assert len(seen) >= (1000 // 7 if shard_rows == 7 else 1)


@pytest.mark.parametrize(
    ("distributed", "kind"), [(None, EmbeddingSystem), (False, EmbeddingSystem), (True, ShardedSystem)]
)
def test_a_small_search_is_sharded_on_demand(tmp_path: Path, distributed: bool | None, kind: type) -> None:
    passages, queries = passages_and_queries()
    assert (
        type(encoder_system(queries, embedded(ArtifactStore(folder_at(tmp_path)), passages), distributed, ignore))
        is kind
    )


def test_a_worker_reads_the_vectors_of_a_store(s3: str) -> None:
    passages, queries = passages_and_queries()
    vectors = embedded(ArtifactStore(folder_at(f"{s3}/sharded")), passages)
    shard = {"begin": np.array([300]), "end": np.array([900])}
    (rows,) = _search_shard(shard, queries, vectors.address, 5)["rows"]  # here: the cluster is older than the store
    expected = EmbeddingSystem(queries, passages[300:900]).search(np.arange(30), 5)[1] + 300
    np.testing.assert_array_equal(np.frombuffer(rows, np.int64).reshape(30, 5), expected)
