"""Batches of one source each, mixed by weight, and what is known of their patents."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from patent_embed.training.data import TripletData, load_training_data, save_training_data
from patent_embed.training.mixture import Mixture
from patent_embed.training.trainer import Trainer
from patent_embed.training.validation import RetrievalSet
from tests.unit.training.tiny import Silent, make_trainer

# Source 0: four queries with two triplets each; source 1: six with one; source 2: five with one.
SOURCE = np.repeat([0, 1, 2], [8, 6, 5])
QUERIES = np.concatenate([np.repeat(np.arange(4), 2), np.arange(4, 15)])
LINKED = np.array([[1, 1, 2, 9], [2, 9, 1, 1]])


def mixture(*passes: float) -> Mixture:
    return Mixture(SOURCE, np.linspace(0.1, 1, 19, dtype=np.float32), np.array(passes), LINKED)


def drawn(*passes: float, size: int = 3, epoch: int = 0, most: int | None = None) -> list[np.ndarray]:
    found = mixture(*passes)
    return found.batches(QUERIES, found.sizes(most), size, np.random.default_rng([1, epoch]))


def test_a_batch_is_of_one_source_and_an_epoch_has_each_triplet_as_often_as_its_weight_says() -> None:
    batches = drawn(1, 2, 1)
    assert all(len(set(SOURCE[batch])) == 1 and 0 < len(batch) <= 3 for batch in batches)
    counts = np.bincount(np.concatenate(batches), minlength=19)
    assert counts.tolist() == [1] * 8 + [2] * 6 + [1] * 5
    assert len(batches) == 3 + 4 + 2
    order = [int(SOURCE[batch[0]]) for batch in batches]
    assert order != sorted(order)  # sources take turns


def test_a_part_of_a_pass_is_another_part_each_time() -> None:
    first, second = (np.concatenate(drawn(0.5, 1, 0.5, epoch=epoch)) for epoch in (0, 1))
    for rows in (first, second):
        assert np.bincount(SOURCE[rows]).tolist() == [4, 6, 2]  # half of 5 is 2
        assert len(set(rows.tolist())) == 12
    assert set(first.tolist()) != set(second.tolist())


def test_an_epoch_with_a_limit_has_each_source_in_proportion() -> None:
    first, second = (np.concatenate(drawn(1, 2, 1, epoch=epoch, most=13)) for epoch in (0, 1))
    for rows in (first, second):  # of 8, 12 and 5
        assert np.bincount(SOURCE[rows]).tolist() == [4, 6, 2]
    assert set(first.tolist()) != set(second.tolist())
    assert mixture(1, 2, 1).sizes(25).tolist() == mixture(1, 2, 1).sizes().tolist() == [8, 12, 5]


def test_the_triplets_of_one_query_stand_together() -> None:
    rows = np.concatenate([batch for batch in drawn(1, 1, 1, size=8) if SOURCE[batch[0]] == 0])
    assert (QUERIES[rows].reshape(-1, 2) == QUERIES[rows].reshape(-1, 2)[:, :1]).all()


def test_a_batch_is_told_grades_and_the_links_between_its_own_families() -> None:
    given = mixture(1, 1, 1).relations(np.array([0, 18]), np.array([2, 5, 1]))
    assert given.grade.tolist() == np.float32([0.1, 1]).tolist()
    expected = [[False, True], [True, False], [False, False]]
    assert given.between(np.array([1, 2, 5]), np.array([1, 2])).tolist() == expected
    assert not mixture(1, 1, 1).relations(np.array([0]), np.array([5, 1])).linked.size


def of_two_sources(data: TripletData) -> TripletData:
    """The triplets of ``make_data`` as those of two sources, of which the second is seen twice."""
    source = np.repeat([0, 1], [30, 30])
    linked = np.array([[0, 3], [3, 0]])
    mixture = Mixture(source, np.ones(60, np.float32), np.array([1.0, 2.0]), linked)
    return TripletData(data.tokens, data.triplets, data.family, mixture)


def test_a_trainer_takes_as_many_steps_as_there_are_batches(tiny_model: Path) -> None:
    plain = make_trainer(tiny_model, loss="infonce", epochs=1)
    data = of_two_sources(plain.data)
    trainer = Trainer(plain.encoder, data, plain.config, seed=5, fingerprint="f" * 64, validate=None)
    reporter = Silent()
    trainer.fit(reporter)
    assert trainer.total_steps == len(reporter.losses) == 4 + 8  # 30 and 60 triplets in batches of 8
    assert np.isfinite(reporter.losses).all()


def test_a_mixture_is_read_as_it_was_written(tiny_model: Path, tmp_path: Path) -> None:
    data = of_two_sources(make_trainer(tiny_model).data)
    some = data.tokens.take(np.arange(4))
    save_training_data(tmp_path / "data", data, RetrievalSet(some, some, np.arange(4), np.arange(4), np.eye(2)))
    found, val = load_training_data(tmp_path / "data")
    assert found.mixture is not None
    assert data.mixture is not None
    for name, array in vars(data.mixture).items():
        assert np.array_equal(getattr(found.mixture, name), array), name
    assert val.links is not None
    assert found.epoch_size() == 90
