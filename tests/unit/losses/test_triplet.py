"""The triplet loss by hand, and against another implementation."""

from __future__ import annotations

import math

import pytest
import torch

from patent_embed.config.training import TrainingConfig
from patent_embed.losses.triplet import triplet_loss

# Unit vectors in the plane at 0, 60, 90 and 180 degrees.
E0 = torch.tensor([[1.0, 0.0]])
E60 = torch.tensor([[0.5, math.sqrt(3) / 2]])
E90 = torch.tensor([[0.0, 1.0]])
E180 = torch.tensor([[-1.0, 0.0]])


@pytest.mark.parametrize(
    ("positive", "negative", "margin", "distance", "expected"),
    [
        (E60, E90, 0.3, "cosine", 0.0),  # 0.5 - 1.0 + 0.3 < 0
        (E60, E90, 0.7, "cosine", 0.2),  # 0.5 - 1.0 + 0.7
        (E60, E90, 0.7, "euclidean", 1.0 - math.sqrt(2) + 0.7),  # chords 2 sin(angle / 2)
        (E90, E60, 0.3, "euclidean", math.sqrt(2) - 1.0 + 0.3),
        (E180, E60, 0.3, "euclidean", 2.0 - 1.0 + 0.3),
        (E180, E60, 0.3, "cosine", 2.0 - 0.5 + 0.3),
    ],
)
def test_triplet_loss(positive, negative, margin, distance, expected) -> None:
    loss = triplet_loss(E0, positive, negative, margin, distance)
    assert loss.shape == (1,)
    assert loss.item() == pytest.approx(max(0.0, expected), abs=1e-6)


def test_triplet_gradient_is_finite_where_positive_equals_anchor() -> None:
    anchor = E0.clone().requires_grad_()
    triplet_loss(anchor, E0, E60, 1.5, "euclidean").sum().backward()
    assert torch.isfinite(anchor.grad).all()


def test_triplet_loss_equals_sentence_transformers() -> None:
    from sentence_transformers.losses import TripletDistanceMetric

    vectors = torch.nn.functional.normalize(torch.randn(3, 16, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    for distance, metric in (("euclidean", TripletDistanceMetric.EUCLIDEAN), ("cosine", TripletDistanceMetric.COSINE)):
        theirs = torch.relu(metric(vectors[0], vectors[1]) - metric(vectors[0], vectors[2]) + 0.3)
        ours = triplet_loss(*vectors, 0.3, distance)
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_a_margin_that_cannot_be_reached_is_refused_where_it_counts() -> None:
    with pytest.raises(ValueError, match=r"margin 2\.5 cannot be reached"):
        TrainingConfig(margin=2.5)
    assert TrainingConfig(margin=2.5, loss="infonce").margin == 2.5
    with pytest.raises(ValueError, match=r"margin 2\.5 cannot be reached"):
        TrainingConfig(margin=2.5, loss="infonce").loss = "triplet"
