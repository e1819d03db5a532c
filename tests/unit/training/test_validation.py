"""The validation set of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from patent_embed.encoder.encoder import Encoder
from patent_embed.evaluation import metrics
from patent_embed.training.validation import Limit, RetrievalSet, build_retrieval_set, retrieval_ndcg, validation_ndcg

PASSAGES = [
    "一种水泵，包括叶轮和泵体，叶轮与电机轴连接。",
    "一种LED灯具，包括散热器和灯罩。",
    "一种水泵，包括叶轮和泵体，叶轮与电机轴连接。",
    "一种锁具，钥匙插入锁芯后转动。",
]


def test_validation_ndcg_is_that_of_the_vectors(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model)
    passages, asked = [text + "装置" * i for i, text in enumerate(PASSAGES)], ["水泵", "灯具散热", "锁芯"]
    groups, own = np.array([0, 1, 0, 2]), np.array([0, 1, 2])
    data = RetrievalSet(encoder.tokenize(asked, "query"), encoder.tokenize(passages, "passage"), own, groups)
    similarity = encoder.encode(asked, "query") @ encoder.encode(passages, "passage").T
    ranked = np.argsort(-similarity, axis=1)
    hit = metrics.hits(ranked, own, groups)
    expected = metrics.ndcg(hit, metrics.group_sizes(own, groups), 10)
    assert validation_ndcg(encoder, data) == pytest.approx(expected)
    assert retrieval_ndcg(encoder, data) == pytest.approx(expected)


def val_set(encoder: Encoder, patents: int, limit: Limit | None) -> list[int]:
    """The patents that two val patents' queries are searched in; the last patent shares no main group with them."""
    ids = [f"CN{row:05}A" for row in range(patents)]
    codes = pa.array([["G06T3/40"]] * (patents - 1) + [["A01B1/02"]], pa.list_(pa.string()))
    corpus = pa.table({"publication_number": ids, "abstract": ids, "codes": codes})
    split = ["val" if row in (3, 7) else "train" for row in range(patents)]
    splits = pa.table({"publication_number": ids, "family": ids, "split": split})
    queries = pa.table({"publication_number": ids, "query": ids, "source": ["rules"] * patents})
    found = build_retrieval_set(encoder, corpus, splits, queries, "val", None, limit)
    assert found.query_family.tolist() == [3, 7]
    assert len(found.passages) == len(found.passage_family)
    return [int(row) for row in found.passage_family]


def test_val_is_searched_in_so_many_patents(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model)
    assert val_set(encoder, 40, None) == list(range(39))
    assert val_set(encoder, 40, Limit(39, 1)) == list(range(39))
    few = val_set(encoder, 40, Limit(10, 1))
    assert len(few) == 10
    assert few == sorted(few)
    assert {3, 7} <= set(few) <= set(range(39))
    assert few == val_set(encoder, 40, Limit(10, 1)) != val_set(encoder, 40, Limit(10, 2))
    assert set(few) < set(val_set(encoder, 40, Limit(11, 1)))
    assert val_set(encoder, 40, Limit(1, 1)) == [3, 7]  # what is asked for is always there


def test_a_corpus_that_grows_keeps_most_of_what_val_is_searched_in(tiny_model: Path) -> None:
    encoder = Encoder.load(tiny_model)
    before, after = (set(val_set(encoder, patents, Limit(20, 1))) for patents in (40, 44))
    assert len(before & after) >= 16
