"""Losses on L2-normalised embeddings. Each is a function of tensors and returns one value per triplet or query.

Per-item values, not means: the caller divides by the size of the *global* batch, so that the gradient does not
depend on how a batch is cut over devices or forward passes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float, distance: str) -> Tensor:
    """``max(0, d(a, p) - d(a, n) + margin)`` for each triplet (Schroff et al., FaceNet, arXiv 1503.03832, eq. 3,
    with the distance not squared).

    Args:
        anchor, positive, negative: (m, dim), unit length.
        margin: in the unit of the distance.
        distance: ``euclidean`` (0..2 between unit vectors) or ``cosine`` (1 - cosine, also 0..2).

    Returns:
        (m,) losses.
    """
    to_positive = (anchor * positive).sum(-1)
    to_negative = (anchor * negative).sum(-1)
    if distance == "cosine":
        return F.relu(to_negative - to_positive + margin)
    return F.relu(_chord(to_positive) - _chord(to_negative) + margin)


def _chord(cosine: Tensor) -> Tensor:
    # |a - b| = sqrt(2 - 2 cos) for unit vectors. The floor keeps the square root's slope finite at a = b.
    return torch.sqrt(torch.clamp(2 - 2 * cosine, min=1e-6))


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
    logits = query @ candidates.T / temperature
    keep_target = F.one_hot(target, candidates.shape[0]).bool()
    return F.cross_entropy(logits.masked_fill(excluded & ~keep_target, -math.inf), target, reduction="none")
