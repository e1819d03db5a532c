"""What a program is that embeds by a run's model, and which there are.

Every other module of this package holds one or more, found by being there: ``patent-embed verify --engines`` takes
their names, and addresses of endpoints.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from patent_embed.config.model import Kind
from patent_embed.encoder.export import Encode
from patent_embed.errors import UserError
from patent_embed.registry import Registry


@dataclass(frozen=True)
class PublishedModel:
    """What a run has published of its model.

    Attributes:
        model: the SentenceTransformer folder, adapter merged.
        adapter: the LoRA adapter in PEFT's format; None: the run trained all weights.
        base: the folder of the model that the adapter is for; None: it is not there any more.
        exports: where ``export`` writes other formats.
        prompts: what stands before queries and passages.
        max_seq_length: tokens of a text, at most.
    """

    model: Path
    adapter: Path | None
    base: Path | None
    exports: Path
    prompts: Mapping[Kind, str]
    max_seq_length: int


class EmbeddingEngine(ABC):
    """A program that embeds.

    Attributes:
        name: value of ``--engines``.
        order: where it stands in lists of engines.
        package: that it is, as it is imported; empty: nothing beside what this program needs.
        extra: of pyproject.toml, which brings the package.
    """

    name: str
    order: int = 100
    package: str = ""
    extra: str = ""

    def require(self, published: PublishedModel) -> None:
        """Raises UserError where it cannot be asked for the model at all: before anything is embedded."""
        del published
        if self.package and importlib.util.find_spec(self.package) is None:
            raise UserError(
                f"--engines {self.name} needs the package {self.package}, which is not installed here; "
                f'pip install "patent-embed[{self.extra}]"'
            )

    @abstractmethod
    def opened(self, published: PublishedModel) -> AbstractContextManager[Encode]:
        """What a user of it gets: texts and their kind to their vectors (n, dim), of any length.

        Raises:
            UserError: it does not take the model, or does not answer.
        """


ENGINES: Registry[EmbeddingEngine] = Registry("pipelines.embedding_engines", EmbeddingEngine, "--engines")  # type: ignore[type-abstract]
