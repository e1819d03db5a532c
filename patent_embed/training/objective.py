"""What a training minimises: its loss, over whole embeddings or also over their first numbers."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from patent_embed.config.training import TrainingConfig
from patent_embed.errors import UserError
from patent_embed.losses.base import LOSSES, Relations


class Objective:
    """The mean loss of a global batch, as ``config`` sets it.

    Args:
        dim: numbers of an embedding.

    Raises UserError for a loss that does not exist and for Matryoshka dimensions that the embeddings do not have.
    """

    def __init__(self, config: TrainingConfig, dim: int) -> None:
        self._loss = LOSSES[config.loss]
        self._settings = self._loss.settings_of(config)
        self._dims = _checked_dims(config.matryoshka_dims, dim)

    def __call__(
        self, embeddings: Tensor, triplets: np.ndarray, family: np.ndarray, relations: Relations | None = None
    ) -> Tensor:
        """With Matryoshka dimensions the mean over them (Kusupati et al., arXiv 2205.13147, eq. 1 with equal weights).

        Args:
            embeddings: (n, dim), unit length.
            triplets: (m, 3) rows of ``embeddings``: query, positive, negative.
            family: (n,) of the patent each text belongs to.
            relations: of a batch from several sources of relevance.

        Returns:
            a scalar.
        """
        if not self._dims:
            return self.of_whole(embeddings, triplets, family, relations)
        parts = [torch.nn.functional.normalize(embeddings[:, :dim], dim=-1) for dim in self._dims]
        return torch.stack([self.of_whole(part, triplets, family, relations) for part in parts]).mean()

    def of_whole(
        self, embeddings: Tensor, triplets: np.ndarray, family: np.ndarray, relations: Relations | None = None
    ) -> Tensor:
        """The same without Matryoshka dimensions."""
        if relations is None:
            return self._loss.losses(embeddings, triplets, family, self._settings).mean()
        return self._loss.graded_losses(embeddings, triplets, family, relations, self._settings).mean()


def _checked_dims(dims: list[int] | None, full: int) -> list[int]:
    """``dims`` and the whole embedding, largest first; nothing where no other is asked for."""
    if wrong := [dim for dim in dims or () if not 1 <= dim <= full]:
        raise UserError(
            f"training.matryoshka_dims has {wrong}, the encoder's embeddings have {full} numbers: there would be "
            f"nothing to cut; set dimensions from 1 to {full}"
        )
    return sorted({*dims, full}, reverse=True) if dims else []
