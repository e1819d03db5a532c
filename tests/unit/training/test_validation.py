"""The validation set of a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patent_embed.encoder.encoder import Encoder
from patent_embed.evaluation import metrics
from patent_embed.training.validation import RetrievalSet, retrieval_ndcg, validation_ndcg

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
