"""Patents with vectors by two models, and queries, for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from patent_embed.stores.base import FIELDS, Content

PATENTS, GROUP, K = 700, 300, 10


def make_content(patents: int = PATENTS) -> Content:
    """Patents in groups of 300; every tenth has no date, and the models have different dimensions."""
    rng = np.random.default_rng(3)
    vectors = {name: rng.normal(size=(patents, dim)).astype(np.float32) for name, dim in (("tuned", 32), ("base", 16))}
    vectors = {name: each / np.linalg.norm(each, axis=1, keepdims=True) for name, each in vectors.items()}

    def groups(fields: Sequence[str]) -> Iterator[pa.Table]:
        for begin in range(0, patents, GROUP):
            rows = [_record(n) for n in range(begin, min(begin + GROUP, patents))]
            table = pa.Table.from_pylist(rows, schema=pa.schema([(name, _type(name)) for name in FIELDS]))
            yield table.select(list(fields))

    return Content(groups, patents, vectors)


def make_queries(content: Content) -> dict[str, np.ndarray]:
    """20 queries a model, of length 1."""
    rng = np.random.default_rng(4)
    asked = {name: rng.normal(size=(20, each.shape[1])).astype(np.float32) for name, each in content.vectors.items()}
    return {name: each / np.linalg.norm(each, axis=1, keepdims=True) for name, each in asked.items()}


def _record(n: int) -> dict[str, object]:
    return {
        "publication_number": f"CN{n:04d}A",
        "title": f"装置{n}",
        "abstract": f"一种装置，编号{n}。",
        "language": "zh",
        "codes": ["G06T3/40", "A47G25/06"][: 1 + n % 2],
        "publication_date": None if n % 10 == 0 else "2020-01-02",
        "applicants": None,
    }


def _type(name: str) -> pa.DataType:
    return pa.list_(pa.string()) if name in ("codes", "applicants") else pa.string()
