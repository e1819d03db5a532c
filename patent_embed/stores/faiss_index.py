"""FAISS: an exact index a model, and the publication numbers of their rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from patent_embed.stores.base import Content, Store, blocks, write_numbers


class Faiss(Store):
    """``MODEL.faiss`` is an ``IndexFlatIP``: exact, by the inner product, which is the cosine of unit vectors."""

    name, order, package = "faiss", 2, "faiss"
    holds = "MODEL.faiss (IndexFlatIP) of each model, and ids.txt: line n is the publication number of row n from 0"

    @override
    def write(self, content: Content, folder: Path) -> Mapping[str, Any]:
        import faiss

        for name, vectors in content.vectors.items():
            index = faiss.IndexFlatIP(vectors.shape[1])
            for _, block in blocks(vectors):
                index.add(block)
            faiss.write_index(index, str(folder / f"{name}.faiss"))
        write_numbers(content, folder)
        return {"index": "IndexFlatIP", "distance": "inner product"}


FAISS = Faiss()
