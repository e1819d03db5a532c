import numpy as np
import pytest

from patent_embed.evaluation.patent_map import chosen_patents, patent_map, turned_onto
from tests.evidence import unit


def test_a_plane_is_found_and_named_as_such() -> None:
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 2)) * [3, 1]
    turned = np.linalg.qr(rng.normal(size=(8, 8)))[0][:2]
    found = patent_map((plane @ turned + 5).astype(np.float32), ["G06T3/40"] * 50)
    assert found.explained == pytest.approx(1, abs=1e-5)
    centred = plane - plane.mean(axis=0)
    assert np.linalg.norm(found.points, axis=1) == pytest.approx(np.linalg.norm(centred, axis=1), rel=1e-4)


def test_neighbours_of_the_same_class() -> None:
    rng = np.random.default_rng(1)
    codes = ["A01B1/10"] * 20 + ["A01C1/10"] * 20 + ["G06T3/40"] * 20
    centres = np.repeat(unit(rng.normal(size=(3, 16))), 20, axis=0)
    tight = patent_map(unit(centres + 0.01 * rng.normal(size=(60, 16))), codes)
    assert tight.sections == ["A"] * 40 + ["G"] * 20
    assert tight.neighbours == {"section": 1.0, "subclass": 1.0, "main group": 1.0}
    noise = patent_map(unit(rng.normal(size=(60, 16))), codes)
    assert noise.neighbours["section"] == pytest.approx((40 / 60) * (39 / 59) + (20 / 60) * (19 / 59), abs=0.1)
    assert noise.neighbours["subclass"] < noise.neighbours["section"]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_patents_and_equal_ones(count: int) -> None:
    found = patent_map(np.tile(unit(np.ones((1, 4))), (count, 1)), ["G06T3/40"] * count)
    assert found.points == pytest.approx(np.zeros((count, 2)), abs=1e-6)
    assert np.isfinite(found.explained)
    assert found.neighbours == ({} if count == 1 else dict.fromkeys(("section", "subclass", "main group"), 1.0))


def test_a_mirrored_map_is_turned_back() -> None:
    points = np.random.default_rng(2).normal(size=(30, 2))
    mirrored = points[:, ::-1] * [1, -1]
    assert turned_onto(mirrored, points) == pytest.approx(points)


def test_the_chosen_patents_follow_from_their_names() -> None:
    names = [f"CN{i}" for i in range(100)]
    chosen = [names[row] for row in chosen_patents(names, 10)]
    assert len(set(chosen)) == 10
    assert [names[::-1][row] for row in chosen_patents(names[::-1], 10)] == chosen[::-1]
    assert chosen_patents(names, 500).tolist() == list(range(100))
