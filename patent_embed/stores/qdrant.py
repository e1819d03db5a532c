"""Qdrant: a collection of points with a named vector a model, in the folder that its client opens by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from typing_extensions import override

from patent_embed.stores.base import FIELDS, Content, Store

COLLECTION = "patents"
_BATCH = 256  # points in one request


class Qdrant(Store):
    """``QdrantClient(path=…)`` opens it: exact, and for small corpora, since that client reads all into memory."""

    name, order, package = "qdrant", 4, "qdrant_client"
    holds = "a folder of qdrant-client's local mode with the collection patents: payloads, and a vector a model"

    @override
    def write(self, content: Content, folder: Path) -> Mapping[str, Any]:
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=str(folder))
        try:
            sizes = {
                name: models.VectorParams(size=vectors.shape[1], distance=models.Distance.DOT)
                for name, vectors in content.vectors.items()
            }
            client.create_collection(COLLECTION, vectors_config=sizes)
            begin = 0
            for batch in content.with_vectors(_BATCH):
                ids = list(range(begin, begin + len(batch)))
                vectors = {name: batch.column(name).to_pylist() for name in content.vectors}
                payloads = batch.select(list(FIELDS)).to_pylist()
                client.upsert(COLLECTION, models.Batch(ids=ids, vectors=vectors, payloads=payloads))
                begin += len(batch)
        finally:
            client.close()
        return {"collection": COLLECTION, "vectors": list(content.vectors), "distance": "dot"}


QDRANT = Qdrant()
