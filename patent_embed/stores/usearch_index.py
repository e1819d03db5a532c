"""USearch: a graph a model, searched approximately, and the publication numbers of its keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import override

from patent_embed.stores.base import Content, Store, blocks, write_numbers

# Twice USearch's own breadths, for a higher recall.
ADDED, SEARCHED = 256, 128


class USearch(Store):
    """``MODEL.usearch`` is a graph (HNSW) over float32 vectors, whose keys are rows."""

    name, order, package = "usearch", 3, "usearch"
    holds = "MODEL.usearch (HNSW) of each model, and ids.txt: line n is the publication number of key n from 0"

    @override
    def write(self, content: Content, folder: Path) -> Mapping[str, Any]:
        from usearch.index import Index

        for name, vectors in content.vectors.items():
            index = Index(
                ndim=vectors.shape[1], metric="ip", dtype="f32", expansion_add=ADDED, expansion_search=SEARCHED
            )
            for begin, block in blocks(vectors):
                index.add(np.arange(begin, begin + len(block), dtype=np.uint64), block)
            index.save(str(folder / f"{name}.usearch"))
        write_numbers(content, folder)
        return {"index": "HNSW", "distance": "1 - inner product", "expansion_add": ADDED, "expansion_search": SEARCHED}


USEARCH = USearch()
