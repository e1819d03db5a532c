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
    # What is within rounding of the last one counts as found: the pipeline's own arithmetic changes their places.
    near = np.array([[1, 0], [0, 1], [5e-4, np.sqrt(1 - 25e-8)]], np.float32)
    asked, swapped = near[1:2], near[[0, 2, 1]]
    assert agreement((asked, asked), (near, swapped), top=1).overlap == 1
    far = unit(near + np.array([[0, 0], [0, 0], [0.1, 0]], np.float32))
    assert agreement((asked, asked), (far, far[[0, 2, 1]]), top=1).overlap == 0
    same = agreement((queries, queries), (documents, documents))
    assert same.holds
    assert same.overlap == 1


def test_what_is_no_number_has_no_direction() -> None:
    found = unit(np.array([[3, 4], [0, 0], [np.nan, np.inf]], np.float32))
    assert found.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0], [0, 0]]
