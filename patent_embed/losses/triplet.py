"""A query's own patent is to be nearer than another one, by a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field
from typing_extensions import override

from patent_embed.losses.base import Loss
from patent_embed.section import Cli, Section

if TYPE_CHECKING:
    from torch import Tensor


class TripletSettings(Section):
    """What the triplet loss reads."""

    distance: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="triplet: between L2-normalised embeddings"
    )
    margin: Annotated[float, Cli("margin", "triplet margin")] = Field(
        0.3, gt=0, description="triplet: the positive must be nearer by this; at most 2, the largest distance"
    )


class Triplet(Loss[TripletSettings]):
    """``triplet_loss`` of each triplet."""

    name, order, settings = "triplet", 0, TripletSettings
    ranges = {"margin": "uniform(0.05, 0.5)"}  # noqa: RUF012

    @override
    def check(self, settings: TripletSettings) -> None:
        if settings.margin > 2:
            raise ValueError(
                f"margin {settings.margin:g} cannot be reached: unit vectors are at most 2 apart, so the loss would "
                "never close; set training.margin to 0.05..0.5"
            )

    @override
    def losses(self, embeddings: Tensor, triplets: np.ndarray, family: np.ndarray, settings: TripletSettings) -> Tensor:
        import torch

        from patent_embed.devices import to_device

        rows = to_device(torch.from_numpy(triplets), embeddings.device)
        anchor, positive, negative = (embeddings[rows[:, i]] for i in range(3))
        return triplet_loss(anchor, positive, negative, settings.margin, settings.distance)


TRIPLET = Triplet()


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
        return (to_negative - to_positive + margin).relu()
    return (_chord(to_positive) - _chord(to_negative) + margin).relu()


def _chord(cosine: Tensor) -> Tensor:
    # |a - b| = sqrt(2 - 2 cos) for unit vectors. The floor keeps the square root's slope finite at a = b.
    return (2 - 2 * cosine).clamp(min=1e-6).sqrt()
