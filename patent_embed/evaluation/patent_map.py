"""Where an encoder puts the patents: a plane for the eye, and the share of neighbours of the same class for the mind.

The plane is that of the two principal components: deterministic, without a setting to tune, and honest about how much
it shows (``explained``). What it cannot show, the neighbours in all dimensions do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Vectors
from patent_embed.evaluation.search import exact_search
from patent_embed.hashing import hash64
from patent_embed.ipc import main_group, section, subclass

MOST_PATENTS = 2000  # on a map, drawn by a hash of their numbers
NEIGHBOURS = 10  # nearest patents of each that are asked for their class
_LEVELS: Mapping[str, Callable[[str], str]] = {"section": section, "subclass": subclass, "main group": main_group}


@dataclass(frozen=True)
class PatentMap:
    """Patents in the plane.

    Attributes:
        sections: (n,) IPC section of each patent's first code.
        points: (n, 2) coordinates.
        explained: share of the embeddings' variance that lies in the plane.
        neighbours: level → share of each patent's ten nearest patents that are of its own class at that level.
    """

    sections: Sequence[str]
    points: NDArray[np.float64]
    explained: float
    neighbours: Mapping[str, float]


def chosen_patents(numbers: Sequence[str], most: int = MOST_PATENTS) -> NDArray[np.int64]:
    """Rows of at most ``most`` of the patents, the same ones for every encoder, in order."""
    keys = np.array([hash64(number, 0, "map") for number in numbers], np.uint64)
    return np.sort(np.argsort(keys, kind="stable")[:most]).astype(np.int64)


def patent_map(vectors: Vectors, codes: Sequence[str]) -> PatentMap:
    """The map of patents with embeddings ``vectors`` (n, d), float32, and first codes ``codes`` (n,)."""
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(vectors), 2))
    points[:, : len(size)] = (left * size)[:, :2]
    points *= np.where(points[np.abs(points).argmax(axis=0), [0, 1]] < 0, -1, 1)  # a component has no sign of its own
    spread = float((size**2).sum())
    return PatentMap(
        sections=[section(code) for code in codes],
        points=points,
        explained=float((size[:2] ** 2).sum() / spread) if spread else 0.0,
        neighbours=_same_class(vectors, codes),
    )


def turned_onto(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """``points`` (n, 2) rotated or mirrored to lie as near ``target`` (n, 2) as they can.

    Components of two encoders come in an order and orientation of their own.
    """
    from scipy.linalg import orthogonal_procrustes

    rotation, _ = orthogonal_procrustes(points, target)
    turned: NDArray[np.float64] = points @ rotation
    return turned


def _same_class(vectors: Vectors, codes: Sequence[str]) -> dict[str, float]:
    if len(vectors) < 2:
        return {}
    _, rows = exact_search(vectors, vectors, min(NEIGHBOURS + 1, len(vectors)))
    other = rows != np.arange(len(rows))[:, None]  # a patent is its own neighbour, if not always the nearest
    shares = {}
    for level, of in _LEVELS.items():
        names = np.array([of(code) for code in codes])
        shares[level] = float((names[rows] == names[:, None])[other].mean())
    return shares
