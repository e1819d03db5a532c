"""A linear map between the vectors of two encoders: queries of a new one search the index of an old one.

Passages stay as the old encoder wrote them. A map ``W`` takes a vector ``q`` of the new encoder to ``W q`` among the
old ones. Two kinds are fitted on passages that both encoders have embedded, ``O`` (n, old) and ``N`` (n, new), each
with its column means taken off, since what shifts all scores of a query ranks nothing:

- *scores*: ``O W q`` shall be ``N q`` for every ``q``, which is ridge regression of ``N`` on ``O``:
  ``W = (O'O + s I)^-1 O'N``, with ``s`` a share of the mean eigenvalue of ``O'O``;
- *rotation*: the orthogonal map that brings ``N`` closest to ``O``, ``W = U V'`` of the singular value decomposition
  ``O'N = U S V'`` (Schoenemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika 31, 1966).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from patent_embed.arrays import Vectors

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)  # shares of the mean eigenvalue


def fit_maps(old: Vectors, new: Vectors) -> dict[str, Vectors]:
    """Candidates for the map, by what they are called.

    Args:
        old, new: (n, old) and (n, new), the same passages by both encoders.

    Returns:
        Each (old, new) float32.

    Raises:
        ValueError: fewer than two passages, or not as many of one as of the other.
    """
    if len(old) != len(new) or len(old) < 2:
        raise ValueError(f"{len(old)} old vectors and {len(new)} new ones are no sample of the same passages")
    before, after = (each.astype(np.float64) - each.mean(axis=0, dtype=np.float64) for each in (old, new))
    gram, cross = before.T @ before, before.T @ after
    mean = np.trace(gram) / len(gram) or 1.0  # all passages alike: any map is as good
    ridged = {
        f"scores, ridge {share:g}": np.linalg.solve(gram + share * mean * np.eye(len(gram)), cross) for share in RIDGES
    }
    left, _, right = np.linalg.svd(cross, full_matrices=False)
    return {name: each.astype(np.float32) for name, each in {"rotation": left @ right, **ridged}.items()}


def mapped(vectors: Vectors, weight: Vectors) -> Vectors:
    """The vectors (q, new) of queries among the old ones: (q, old) float32 of length 1 (0 stays 0)."""
    moved = vectors @ weight.T
    norms = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.asarray(moved / np.where(norms > 0, norms, 1), np.float32)


def append_map(folder: Path, weight: Vectors) -> None:
    """Put a map at the end of the SentenceTransformer folder ``folder``, as a ``Dense`` layer without bias.

    The vector need not be normalised before: a linear map keeps its direction. ``modules.json`` is written
    last.
    """
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    kinds = [module["type"].rpartition(".")[2] for module in modules]
    last = len(modules) - 1
    if kinds != ["Transformer", "Pooling", *["Dense"] * (last - 2), "Normalize"]:
        raise ValueError(f"modules of {folder} are {kinds}, not those that this package writes")
    shutil.move(folder / f"{last}_Normalize", folder / f"{last + 1}_Normalize")
    dense = folder / f"{last}_Dense"
    dense.mkdir()
    wide, narrow = weight.shape[1], weight.shape[0]
    about = {
        "in_features": wide,
        "out_features": narrow,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    (dense / "config.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    save_file({"linear.weight": np.ascontiguousarray(weight, np.float32)}, dense / "model.safetensors")
    prefix = modules[last]["type"].rpartition(".")[0]
    del modules[last]
    for number, kind in enumerate(("Dense", "Normalize"), start=last):
        name = str(number)
        modules.append({"idx": number, "name": name, "path": f"{number}_{kind}", "type": f"{prefix}.{kind}"})
    (folder / "modules.json").write_text(json.dumps(modules, indent=2), encoding="utf-8")
