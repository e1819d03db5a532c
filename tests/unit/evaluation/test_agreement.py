from __future__ import annotations

import numpy as np
import pytest

from patent_embed.evaluation.agreement import agreement, unit


def test_by_hand() -> None:
    documents = unit(np.array([[1, 0], [1, 1], [0, 1]], np.float32))
    turned = unit(np.array([[1, 0], [1, 1], [0, -1]], np.float32))
    queries = unit(np.array([[1, 0.2], [0, 1]], np.float32))
    found = agreement((queries, queries), (documents, turned), top=2)
    # The first query's best two are 0 and 1 for both; the second's are 2 and 1, then 1 and 0.
    assert found.overlap == pytest.approx((1 + 0.5) / 2)
    assert found.cosines.tolist() == pytest.approx([1, 1, 1, 1, -1])
    assert not found.holds
    same = agreement((queries, queries), (documents, documents))
    assert same.holds
    assert same.overlap == 1


def test_what_is_no_number_has_no_direction() -> None:
    found = unit(np.array([[3, 4], [0, 0], [np.nan, np.inf]], np.float32))
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0], [0, 0]]
