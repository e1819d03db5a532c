"""A query's own patent is to be told from all others of its batch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from typing_extensions import override

from patent_embed.losses.base import Loss, Relations
from patent_embed.section import Section

if TYPE_CHECKING:
    from torch import Tensor


class InfoNceSettings(Section):
    """What InfoNCE reads."""

    temperature: float = Field(
        0.05, gt=0, description="infonce: cosines are divided by it; the smaller, the more the nearest count"
    )


class InfoNce(Loss[InfoNceSettings]):
    """``info_nce_loss`` of each distinct query, among the positives and negatives of the whole batch."""

    name, order, settings = "infonce", 1, InfoNceSettings
    in_batch = graded = True
    ranges = {"temperature": "loguniform(0.01, 0.1)"}  # noqa: RUF012

    @override
    def losses(self, embeddings: Tensor, triplets: np.ndarray, family: np.ndarray, settings: InfoNceSettings) -> Tensor:
        return self._losses(embeddings, triplets, family, None, settings)

    @override
    def graded_losses(
        self,
        embeddings: Tensor,
        triplets: np.ndarray,
        family: np.ndarray,
        relations: Relations,
        settings: InfoNceSettings,
    ) -> Tensor:
        """One value for each right answer to each query, times its grade. Right answers to one query do not compete:
        each is told from what is none."""
        return self._losses(embeddings, triplets, family, relations, settings)

    def _losses(
        self,
        embeddings: Tensor,
        triplets: np.ndarray,
        family: np.ndarray,
        relations: Relations | None,
        settings: InfoNceSettings,
    ) -> Tensor:
        import torch

        from patent_embed.devices import to_device

        pairs, first = np.unique(triplets[:, :2], axis=0, return_index=True)
        candidates = np.unique(triplets[:, 1:])
        queries, target = pairs[:, 0], np.searchsorted(candidates, pairs[:, 1])
        arrays = (queries, candidates, target, family[queries], family[candidates])
        query, candidate, own, family_of_query, family_of_candidate = (
            to_device(torch.from_numpy(array), embeddings.device) for array in arrays
        )
        excluded = family_of_query[:, None] == family_of_candidate[None, :]
        if relations is None:
            return info_nce_loss(embeddings[query], embeddings[candidate], own, excluded, settings.temperature)
        linked = relations.between(family[queries], family[candidates]) | _answers(queries, target, len(candidates))
        excluded = excluded | to_device(torch.from_numpy(linked), embeddings.device)
        grade = to_device(torch.from_numpy(relations.grade[first]), embeddings.device)
        return info_nce_loss(embeddings[query], embeddings[candidate], own, excluded, settings.temperature) * grade


INFONCE = InfoNce()


def _answers(queries: np.ndarray, target: np.ndarray, candidates: int) -> np.ndarray:
    """(p, candidates) bool: all answers to the query of each pair, a query and its ``target``, (p,) each."""
    _, number = np.unique(queries, return_inverse=True)
    answers = np.zeros((int(number.max(initial=-1)) + 1, candidates), np.bool_)
    answers[number, target] = True
    found: np.ndarray = answers[number]
    return found


def info_nce_loss(query: Tensor, candidates: Tensor, target: Tensor, excluded: Tensor, temperature: float) -> Tensor:
    """Cross entropy of each query's own candidate against all others (van den Oord et al., arXiv 1807.03748, eq. 4).

    Args:
        query: (q, dim), unit length.
        candidates: (c, dim), unit length: positives and hard negatives of the whole batch.
        target: (q,) index of each query's positive.
        excluded: (q, c) bool, candidates that are no negatives of the query (its own family). Targets are kept.
        temperature: > 0.

    Returns:
        (q,) losses.
    """
    import torch.nn.functional as F

    logits = query @ candidates.T / temperature
    keep_target = F.one_hot(target, candidates.shape[0]).bool()
    return F.cross_entropy(logits.masked_fill(excluded & ~keep_target, -math.inf), target, reduction="none")
