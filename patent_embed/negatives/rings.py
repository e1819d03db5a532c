"""Containers of patents as rings, and the walks along them that find negatives.

Patents sit in *containers* and carry *keys* (what these are depends on the rung, see ``ladder``). The candidates of
an anchor are the patents of its containers that carry none of its keys and belong to another family.

A container is a ring: its patents ordered by key, each listed once. An anchor walks the ring from a start and with a
stride that come from hash(seed, anchor, container), and jumps over the stretches of its own keys. A walk that is not
stopped visits every candidate of the container once, so that it ends early for want of candidates only, up to
``MAX_PROBES``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patent_embed.arrays import Int32, Int64, UInt64, changes, owners_of, places_in, ranges_of, starts_of
from patent_embed.hashing import mix64

# Patents that a walk looks at, at most: who has found too few by then goes short (``walks_cut``). Another value gives
# other negatives wherever a walk ends there.
MAX_PROBES = 4096
# Patents that a walk looks at in one go, at most. It changes only how many refused candidates are counted: those behind
# the last one needed count as well, up to the end of the go.
WIDEST_LOOK = 1024
_CHUNK = 1 << 18  # probes handled at once


@dataclass(frozen=True)
class Ring:
    """Containers, one after the other; a *cell* is the stretch of one key in one container.

    A *pair* is a patent in one of its containers. Pairs are ordered by patent: those of patent ``i`` are
    ``patent_start[i]:patent_start[i + 1]``.
    """

    member: Int32  # patents, in ring order
    container_start: Int64  # container c is member[container_start[c]:container_start[c + 1]]
    container_hash: UInt64
    cell_start: Int64
    patent_start: Int64
    pair_container: Int32
    pair_start: Int64  # the cells of pair p are own_cell[pair_start[p]:pair_start[p + 1]], ascending
    own_cell: Int32
    key_start: Int64  # every key of patent i, whatever the container: key[key_start[i]:key_start[i + 1]]
    key: Int32
    signature: UInt64  # of a patent: one bit a key; patents with no common bit have no common key
    family: NDArray[Any]


def assemble(
    row: Int32,
    cell: Int32,
    cell_container: Int32,
    container_hash: UInt64,
    key_start: Int64,
    key: Int32,
    family: NDArray[Any],
) -> Ring:
    """The rings of patents 0..n-1, given one (row, cell) for each key of each patent in each of its containers.

    ``row, cell`` are sorted and distinct; ``cell_container`` is ascending; ``family`` has n rows.
    """
    n, cells = len(family), len(cell_container)
    container = cell_container[cell]
    first = np.flatnonzero(changes(row, container))
    # A patent is listed under its most frequent key (ties: the lower cell): a key that all patents of a container carry
    # then holds all of them, and none of them is looked at in vain.
    crowd = np.bincount(cell, minlength=cells)
    low = np.int64(2**32 - 1)
    listed = (np.maximum.reduceat((crowd[cell] << 32) | (low - cell), first) & low) if len(first) else first
    listed = low - listed
    pair_row = row[first]
    cell_start = starts_of(np.bincount(listed, minlength=cells))
    member = (np.sort((listed << 32) | pair_row) & low).astype(np.int32)
    first_cell = np.searchsorted(cell_container, np.arange(len(container_hash) + 1))
    return Ring(
        member=member,
        container_start=cell_start[first_cell],
        container_hash=container_hash,
        cell_start=cell_start,
        patent_start=starts_of(np.bincount(pair_row, minlength=n)),
        pair_container=container[first],
        pair_start=np.append(first, len(row)),
        own_cell=cell,
        key_start=key_start,
        key=key,
        signature=_signatures(key_start, key),
        family=family,
    )


def _signatures(key_start: Int64, key: Int32) -> UInt64:
    bits = np.uint64(1) << (mix64(key.astype(np.uint64)) >> np.uint64(58))
    signature = np.zeros(len(key_start) - 1, np.uint64)
    filled = np.flatnonzero(np.diff(key_start))
    if len(filled):
        signature[filled] = np.bitwise_or.reduceat(bits, key_start[:-1][filled])
    return signature


def bucket_of(anchor_hash: UInt64, container_hash: UInt64, buckets: Int64) -> Int64:
    """The bucket, out of ``buckets``, of a patent in a container."""
    out = np.zeros(len(buckets), np.int64)
    cut = np.flatnonzero(buckets > 1)
    out[cut] = mix64(anchor_hash[cut] + mix64(container_hash[cut])) % buckets[cut].astype(np.uint64)
    return out


def walk(ring: Ring, rows: Int32, pairs: Int64, anchor_hash: UInt64, k: int, tally: Counter[str]) -> Int32:
    """Up to ``k`` candidates for each pair (with its patent and the patent's hash), (len(pairs), k), -1 after the last.

    The first j candidates do not depend on ``k``.
    """
    found = np.full((len(pairs), k), -1, np.int32)
    step = max(_CHUNK // k, 1)
    for low in range(0, len(pairs), step):
        part = slice(low, low + step)
        _walk(ring, rows[part], pairs[part], anchor_hash[part], found[part], tally)
    return found


def _walk(ring: Ring, rows: Int32, pairs: Int64, anchor_hash: UInt64, found: Int32, tally: Counter[str]) -> None:
    k = found.shape[1]
    container = ring.pair_container[pairs]
    begin, end = ring.container_start[container], ring.container_start[container + 1]
    cells = ring.pair_start[pairs + 1] - ring.pair_start[pairs]
    own = ring.own_cell[ranges_of(ring.pair_start[pairs], cells)]
    own_start, own_size = ring.cell_start[own], ring.cell_start[own + 1] - ring.cell_start[own]
    first_own = starts_of(cells)
    outside = end - begin - np.add.reduceat(own_size, first_own[:-1])  # members under other keys than the anchor's
    safe = np.maximum(outside, 1)
    start, stride = route(anchor_hash, ring.container_hash[container], safe)
    limit = np.minimum(outside, MAX_PROBES)
    got = np.zeros(len(pairs), np.int64)
    active = np.flatnonzero(limit > 0)
    tried, width = 0, k
    while len(active):
        for piece in np.array_split(active, -(-len(active) * width // (2 * _CHUNK))):
            step = tried + np.arange(width)
            inside = step < limit[piece, None]
            at = begin[piece, None] + (start[piece, None] + step * stride[piece, None]) % safe[piece, None]
            for turn in range(int(cells[piece].max())):  # jump over the own cells, which are in ring order
                more = np.flatnonzero(cells[piece] > turn)
                cell = first_own[piece[more]] + turn
                at[more] += own_size[cell, None] * (at[more] >= own_start[cell, None])
            candidate = ring.member[at]
            anchor = rows[piece, None]
            other_family = ring.family[candidate] != ring.family[anchor]
            allowed = inside & other_family
            allowed &= ~common_key(ring, anchor, candidate, allowed)
            tally["same_family"] += int(np.count_nonzero(inside & ~other_family))
            tally["shared_code"] += int(np.count_nonzero(inside & other_family & ~allowed))
            place = got[piece, None] + np.cumsum(allowed, axis=1) - 1
            allowed &= place < k
            r, c = np.nonzero(allowed)
            found[piece[r], place[r, c]] = candidate[r, c]
            got[piece] += np.count_nonzero(allowed, axis=1)
        tried += width
        width = min(2 * width, WIDEST_LOOK)
        cut = (got[active] < k) & (tried >= MAX_PROBES) & (outside[active] > MAX_PROBES)
        tally["walks_cut"] += int(np.count_nonzero(cut))
        active = active[(got[active] < k) & (tried < limit[active])]


def route(anchor_hash: UInt64, container_hash: UInt64, size: Int64) -> tuple[Int64, Int64]:
    """Start and stride, drawn for anchors in containers with ``size`` places that are not their own, all (n,).

    A stride has no factor in common with the size, so that a walk comes to every place once.
    """
    draw = mix64(anchor_hash ^ mix64(container_hash))
    start = (draw % size.astype(np.uint64)).astype(np.int64)
    return start, _coprime((mix64(draw) % size.astype(np.uint64)).astype(np.int64), size)


def _coprime(stride: Int64, size: Int64) -> Int64:
    """The first number from ``stride`` up that has no factor in common with ``size``."""
    stride = np.maximum(stride, 1)
    rows = np.arange(len(stride))
    while len(rows):
        rows = rows[np.gcd(stride[rows], size[rows]) != 1]
        stride[rows] += 1
    return stride


def common_key(ring: Ring, anchor: Int32, candidate: Int32, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the two patents have a key in common; computed only ``where``."""
    common: NDArray[np.bool_] = where & ((ring.signature[anchor] & ring.signature[candidate]) != 0)
    r, c = np.nonzero(common)
    if not len(r):
        return common
    a, b = anchor[r, 0], candidate[r, c]
    start_a, start_b = ring.key_start[a], ring.key_start[b]
    size_a, size_b = ring.key_start[a + 1] - start_a, ring.key_start[b + 1] - start_b
    work = starts_of(size_a * size_b)
    cuts = np.searchsorted(work, np.arange(0, work[-1], 4 * _CHUNK), side="left").tolist()
    for low, high in zip(cuts, [*cuts[1:], len(r)], strict=True):  # every key of a against every key of b
        part = slice(low, high)
        left = ranges_of(start_a[part], size_a[part])
        times = np.repeat(size_b[part], size_a[part])
        right = ranges_of(np.repeat(start_b[part], size_a[part]), times)
        equal = ring.key[np.repeat(left, times)] == ring.key[right]
        if high > low:
            common[r[part], c[part]] = np.logical_or.reduceat(equal, work[low:high] - work[low])
    return common


def take_turns(found: Int32, counts: Int64, anchor_hash: UInt64) -> tuple[Int32, Int64]:
    """Merge the candidates of an anchor's containers: the containers take turns, and a candidate counts once.

    ``found`` (pairs, k) holds the anchors' pairs one after the other, ``counts`` (anchors) of each. Returns the first k
    distinct candidates, (anchors, k) with -1 after the last, and how many there are. Who begins is drawn.
    """
    n, k = len(counts), found.shape[1]
    begin = starts_of(counts) * k
    many = np.repeat(np.maximum(counts, 1), counts)
    drawn = (np.repeat(mix64(anchor_hash), counts) % many.astype(np.uint64)).astype(np.int64)
    slot = np.repeat(begin[:-1], counts) + (places_in(counts) + drawn) % many
    queue = np.empty(found.size, np.int32)
    queue[slot[:, None] + np.arange(k) * many[:, None]] = found
    owner = owners_of(counts * k)
    shared = np.flatnonzero((queue >= 0) & np.repeat(counts > 1, counts * k))
    order = shared[np.argsort((owner[shared] << 32) | queue[shared], kind="stable")]
    again = ~changes(owner[order], queue[order])
    queue[order[again]] = -1
    kept = queue >= 0
    place: Int64 = np.cumsum(kept) - kept
    place -= np.repeat(np.append(place, 0)[begin[:-1]], counts * k)
    kept &= place < k
    merged = np.full((n, k), -1, np.int32)
    merged[owner[kept], place[kept]] = queue[kept]
    return merged, np.count_nonzero(merged >= 0, axis=1)
