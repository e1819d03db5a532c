"""Programs that read a folder: sentence-transformers the model itself, onnxruntime and OpenVINO an exported one."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from typing_extensions import override

from patent_embed.config.commands import Format
from patent_embed.encoder.export import Encode, export_format, load_format, require_packages
from patent_embed.hashing import folder_digest
from pipelines.embedding_engines.base import EmbeddingEngine, PublishedModel


class SentenceTransformers(EmbeddingEngine):
    """The library sentence-transformers, on a GPU where there is one."""

    name, order = "sentence-transformers", 1

    @override
    @contextlib.contextmanager
    def opened(self, published: PublishedModel) -> Iterator[Encode]:
        yield load_format(published.model, "fp32")


class Exported(EmbeddingEngine):
    """A runtime of an exported graph: of what ``export`` wrote of this model, else of one that is made for it."""

    def __init__(self, format: Format, order: int) -> None:
        self.name, self.order, self._format = format, order, format

    @override
    def require(self, published: PublishedModel) -> None:
        require_packages(self._format)

    @override
    @contextlib.contextmanager
    def opened(self, published: PublishedModel) -> Iterator[Encode]:
        folder = published.exports / self._format
        if _exported_from(folder) == folder_digest(published.model):
            yield load_format(folder, self._format)
            return
        with tempfile.TemporaryDirectory() as scratch:
            yield load_format(export_format(published.model, Path(scratch), self._format), self._format)


def _exported_from(folder: Path) -> str | None:
    """Digest of the model that a folder was exported from."""
    about = folder / "export.json"
    return str(json.loads(about.read_text(encoding="utf-8"))["model_digest"]) if about.is_file() else None


SENTENCE_TRANSFORMERS = SentenceTransformers()
ONNX, OPENVINO = Exported("onnx", 2), Exported("openvino", 3)
