"""InfoNCE by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from patent_embed.losses.base import Relations, link_keys
from patent_embed.losses.infonce import INFONCE, InfoNceSettings, info_nce_loss

# Unit vectors in the plane at 0, 60 and 90 degrees.
E0 = torch.tensor([[1.0, 0.0]])
E60 = torch.tensor([[0.5, math.sqrt(3) / 2]])
E90 = torch.tensor([[0.0, 1.0]])


def test_info_nce_by_hand() -> None:
    candidates = torch.cat([E0, E60, E90])
    none = torch.zeros(1, 3, dtype=torch.bool)
    temperature = 0.5  # logits 2, 1, 0
    total = math.exp(2) + math.exp(1) + 1
    loss = info_nce_loss(E0, candidates, torch.tensor([0]), none, temperature)
    assert loss.item() == pytest.approx(math.log(total) - 2, abs=1e-6)


def test_info_nce_leaves_out_the_excluded_but_never_the_target() -> None:
    candidates = torch.cat([E0, E60, E90])
    family = torch.tensor([[True, True, False]])
    loss = info_nce_loss(E0, candidates, torch.tensor([0]), family, 0.5)
    assert loss.item() == pytest.approx(math.log(math.exp(2) + 1) - 2, abs=1e-6)


# Texts: a query, its two right answers, and two other patents, all of families of their own.
EMBEDDINGS = torch.cat([E0, E0, E60, E90, -E0])
FAMILY = np.arange(5)
TRIPLETS = np.array([[0, 1, 1], [0, 2, 2], [0, 1, 3], [0, 1, 4]])
SETTINGS = InfoNceSettings(temperature=0.5)


def graded(grade: list[float], *links: tuple[int, int]) -> list[float]:
    both = np.array([*links, *((b, a) for a, b in links)], np.int64).reshape(-1, 2)
    relations = Relations(np.array(grade, np.float32), np.sort(link_keys(*both.T)))
    values: list[float] = INFONCE.graded_losses(EMBEDDINGS, TRIPLETS, FAMILY, relations, SETTINGS).tolist()
    return values


def test_right_answers_do_not_compete_and_count_by_their_grades() -> None:
    """Logits 2 and 1 of the right answers, 0 and -2 of the others."""
    others = 1 + math.exp(-2)
    first, second = math.log(math.exp(2) + others) - 2, math.log(math.exp(1) + others) - 1
    assert graded([1, 1, 1, 1]) == pytest.approx([first, second], abs=1e-6)
    assert graded([1, 0.3, 1, 1]) == pytest.approx([first, 0.3 * second], abs=1e-6)


def test_what_is_linked_is_no_negative_either_way_round() -> None:
    first, second = (math.log(math.exp(logit) + math.exp(-2)) - logit for logit in (2, 1))
    assert graded([1, 1, 1, 1], (0, 3)) == graded([1, 1, 1, 1], (3, 0)) == pytest.approx([first, second], abs=1e-6)
    assert graded([1, 1, 1, 1], (1, 3)) == graded([1, 1, 1, 1])  # of other families than the query's


def test_with_one_answer_each_and_no_link_it_is_the_loss_without_relations() -> None:
    triplets = np.array([[0, 1, 3], [2, 4, 3]])
    plain = INFONCE.losses(EMBEDDINGS, triplets, FAMILY, SETTINGS)
    relations = Relations(np.ones(2, np.float32), np.zeros(0, np.int64))
    assert torch.equal(INFONCE.graded_losses(EMBEDDINGS, triplets, FAMILY, relations, SETTINGS), plain)
