"""Which negatives a judge is asked about."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from patent_embed.evaluation.pooling import PatentVectors
from pipelines.steps.negatives_graded import candidates

IDS = ["CN0", "CN1", "CN2", "CN3"]
CORPUS = pa.table({name: IDS if name == "publication_number" else [""] * 4 for name in
                   ("publication_number", "title", "abstract", "language")})  # fmt: skip
ASKED = pa.table({"publication_number": ["CN0", "CN1"], "query": ["written", "lifted"], "source": ["llm", "rules"]})
MINED = pa.table({"publication_number": ["CN0"] * 3 + ["CN1"], "negative": ["CN1", "CN2", "CN3", "CN2"]})
QUERIES = np.array([[1, 0], [0, 1]], np.float32)


def nearest(patents: PatentVectors) -> list[str]:
    pairs, own = candidates(CORPUS, ASKED, MINED, (QUERIES, patents), 2)
    assert own == ["CN0"] * len(pairs)  # the query of CN1 was written by the rules
    assert {pair.query for pair in pairs} == {"written"}
    return [pair.patent.number for pair in pairs]


def test_the_nearest_negatives_of_a_written_query_are_asked_about() -> None:
    vectors = np.array([[1, 0], [0.1, 0], [0.3, 0], [0.2, 0]], np.float32)
    assert nearest(PatentVectors(vectors)) == ["CN2", "CN3"]


def test_of_several_passages_the_best_counts() -> None:
    # CN1's second passage is the nearest of all; rows of passages are not rows of patents.
    vectors = np.array([[1, 0], [0.1, 0], [0.9, 0], [0.3, 0], [0.2, 0]], np.float32)
    assert nearest(PatentVectors(vectors, np.array([0, 1, 1, 2, 3]))) == ["CN1", "CN2"]
