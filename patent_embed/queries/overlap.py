"""How well a query's words alone find its own patent, in bands of rank, and which bands have too many queries.

A query that words find at once teaches an encoder what BM25 knows already; real queries are of all bands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

from patent_embed.config.mix import Band
from patent_embed.hashing import hash64

BANDS: tuple[str, ...] = get_args(Band)  # from easy to hard
_LAST = (1, 10, 100)  # ranks of all bands but the last
# For publication numbers and queries: the rank of each query's own patent, from 1; 0 where they share no word.
Ranks = Callable[[Sequence[str], Sequence[str]], Sequence[int]]


def band_of(rank: int) -> str:
    """The band of a rank, from 1; 0 is beyond every rank."""
    return BANDS[-1] if rank < 1 else BANDS[sum(rank > last for last in _LAST)]


def in_bands(ranks: Sequence[int]) -> dict[str, int]:
    """How many of ``ranks`` are in each band, from easy to hard."""
    found = Counter(map(band_of, ranks))
    return {band: found[band] for band in BANDS}


def too_many(numbers: Sequence[str], ranks: Sequence[int], target: Mapping[Any, float], seed: int) -> dict[int, bool]:
    """Which queries to ask for once more, so that the bands come nearer to ``target``: place → whether harder.

    Args:
        numbers: publication numbers of the queries; which of a band are taken follows from them and ``seed``.
        ranks: of the queries.
        target: weights of the bands.
    """
    bands = [band_of(rank) for rank in ranks]
    count, total = Counter(bands), sum(target.values())
    surplus = {band: count[band] - len(bands) * target.get(band, 0.0) / total for band in BANDS}
    found: dict[int, bool] = {}
    for place, band in enumerate(BANDS):
        if surplus[band] < 1:
            continue
        short = [max(0.0, -surplus[each]) for each in BANDS]
        mine = [i for i, each in enumerate(bands) if each == band]
        mine.sort(key=lambda i: hash64(numbers[i], seed, "overlap"))
        found |= dict.fromkeys(mine[: int(surplus[band])], sum(short[place:]) >= sum(short[:place]))
    return found
