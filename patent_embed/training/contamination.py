"""Whether a training reads what it is judged on: counted from what it reads, not from what was meant."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed.arrays import Rows, numbered
from patent_embed.training.data import TripletData


def contamination(data: TripletData, splits: pa.Table, family: Rows) -> dict[str, int]:
    """Counts of a training's ``texts`` and of the ``families`` they are of, and of what must be 0 for figures on val
    and test to mean anything: ``families_in_two_splits``, and ``held_out_texts``, training texts of a patent whose
    family is in val or test.

    Args:
        splits: ``split`` of every patent.
        family: (patents,) their families, as ``data`` numbers them.
    """
    size = int(family.max(initial=-1)) + 1
    split, parts = numbered(splits["split"])
    held_out = np.zeros(size, np.bool_)
    held_out[family[pc.not_equal(splits["split"], "train").to_numpy()]] = True
    seen = np.zeros((size, len(parts)), np.bool_)
    seen[family, split] = True
    used = np.zeros(len(data.family), np.bool_)
    used[data.triplets] = True
    texts = data.family[used]
    return {
        "texts": len(texts),
        "families": len(np.unique(texts)),
        "families_in_two_splits": int((seen.sum(axis=1) > 1).sum()),
        "held_out_texts": int(held_out[texts].sum()),
    }
