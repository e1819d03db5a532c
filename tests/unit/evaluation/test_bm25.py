from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from patent_embed.evaluation.bm25 import Bm25Index

TEXTS = ["一种带滤网的水泵", "水泵和水泵的壳体", "天线装置", ""]


@pytest.mark.parametrize("texts", [TEXTS, ["", "。"], []])
def test_an_index_that_was_kept_scores_the_same(tmp_path: Path, texts: list[str]) -> None:
    made = Bm25Index.build(texts)
    made.save(tmp_path)
    kept = Bm25Index.load(tmp_path)
    assert made.size == kept.size == len(texts)
    for query in ("水泵", "带滤网的水泵和天线", "无", ""):
        assert made.scores(query).tolist() == kept.scores(query).tolist()
        assert kept.scores(query).shape == (len(texts),)
    assert [kept.frequency(word) for word in ("水泵", "无")] == [made.frequency("水泵"), 0]


def test_scores_worked_out_by_hand() -> None:
    """Lucene's BM25: ln(1 + (n - df + 0.5) / (df + 0.5)) tf / (tf + k1 (1 - b + b length / mean length))."""
    index = Bm25Index.build(["a b", "a a c d", "c"])
    idf = np.log(1 + (3 - 2 + 0.5) / (2 + 0.5))
    mean = 7 / 3
    expected = [idf * tf / (tf + 1.5 * (0.25 + 0.75 * length / mean)) for tf, length in ((1, 2), (2, 4))]
    assert index.scores("a") == pytest.approx([*expected, 0], rel=1e-5)
    assert index.frequency("a") == 2
