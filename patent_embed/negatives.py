"""Negatives from the classification ladder: same main group, same subclass, random.

One search serves the three rungs. On each rung, patents sit in *containers* and carry *keys*, and a negative is a
patent of one of the anchor's containers that carries none of the anchor's keys and belongs to another family:

=================  ===================  =============
rung               container            key
=================  ===================  =============
same_main_group    main group           full code
same_subclass      subclass             main group
random             all patents          subclass
=================  ===================  =============

All codes of both patents count. So the rungs are disjoint, together they hold every allowed negative, and no negative
shares a full code with its anchor. Containers never mix splits.

A container is a *ring*: its patents ordered by key, each listed once, under its most frequent key there. An anchor
walks the ring from a start and with a stride drawn from hash(seed, anchor, container), and jumps over the stretches of
its own keys. A walk that is not stopped visits every allowed patent once, so a shortfall is exact, up to two bounds: a
container of more than ``group_cap`` patents is cut into buckets by a hash of the id, and an anchor sees its own bucket;
and a walk ends after ``MAX_PROBES`` patents (counted in the report as ``walks_cut``).

Hence an anchor's negatives are a function of the seed and of the set of patents in its containers, whatever the order
or the partitioning of the rows; a patent added to one of them may change its negatives, one added elsewhere cannot.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed import ipc
from patent_embed.config import NegativesConfig
from patent_embed.errors import UserError

RUNGS = ("same_main_group", "same_subclass", "random")
SCHEMA = pa.schema(
    [
        ("publication_number", pa.string()),
        ("rank", pa.int32()),
        ("negative", pa.string()),
        ("rung", pa.string()),
        ("score", pa.float32()),
    ]
)
GROUP_CAP = 1 << 16
MAX_PROBES = 4096
_CHUNK = 1 << 18  # probes handled at once
_BLOCK = 1 << 16  # anchors handled at once

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
UInt64 = NDArray[np.uint64]


@dataclass(frozen=True)
class Mined:
    """``table`` has the columns of ``SCHEMA``, sorted by publication_number and rank; ``report`` is JSON-able."""

    table: pa.Table
    report: dict[str, Any]


def mine_negatives(
    corpus: pa.Table,
    splits: pa.Table,
    config: NegativesConfig,
    seed: int,
    anchors: pa.Array | None = None,
    *,
    group_cap: int = GROUP_CAP,
) -> Mined:
    """Negatives for each of ``anchors`` (publication numbers; default: every patent).

    ``corpus`` needs ``publication_number, codes`` (full symbols; a patent without codes neither gets nor is a
    negative), ``splits`` needs ``publication_number, family, split`` for each of them, in any order. Raises UserError
    for repeated or unknown ids and for the strategy ``hard``, which needs embeddings.
    """
    if config.strategy == "hard":
        raise UserError(
            "negatives.strategy 'hard' ranks candidates by a model's scores, and there are no embeddings here; "
            "name an encoder, or choose another strategy, e.g. optimized_mixed"
        )
    patents = read_patents(corpus, splits, seed)
    rows = _anchor_rows(patents, anchors)
    ladder = Ladder(patents, group_cap)
    tally = Tally()
    batches = []
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        negatives, rungs, counts = climb(partial(ladder.candidates, block, tally), patents.hash[block], config)
        tally.count(config.per_positive, counts, rungs)
        batches.append(to_batch(patents.ids, block, negatives, rungs, counts))
    report = tally.report() | {"largest_groups": _largest_groups(patents)}
    return Mined(pa.Table.from_batches(batches, SCHEMA), report)


# --- the patents as arrays -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Level:
    """The keys of one rung and the containers they sit in. Numbers are in the order of the hashes of the names, keys
    container by container, so that the numbers of any subset keep their order."""

    key_of_code: Int32
    container_of_key: Int32
    container_hash: UInt64


@dataclass(frozen=True)
class Patents:
    """Patents in the order of their ids; everything else refers to them by row number.

    The codes of row ``i`` are ``code[code_start[i]:code_start[i + 1]]``.
    """

    ids: pa.Array
    hash: UInt64
    family: Int32
    split: Int32
    code_start: Int64
    code: Int32
    levels: tuple[Level, Level, Level]
    main_groups: list[str]

    def __len__(self) -> int:
        return len(self.hash)

    def pairs(self, number_of_code: Int32) -> tuple[Int32, Int32]:
        """Distinct (row, number), in order, from a number for each code."""
        row = np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.code_start))
        packed = np.sort((row << 32) | number_of_code[self.code])
        packed = packed[_changes(packed)]
        return (packed >> 32).astype(np.int32), (packed & 0xFFFFFFFF).astype(np.int32)


def read_patents(corpus: pa.Table, splits: pa.Table, seed: int) -> Patents:
    """The arrays of ``corpus`` and ``splits``. Raises UserError for repeated ids and ids without a split."""
    corpus = _sorted_by_id(corpus.select(["publication_number", "codes"]), "the corpus")
    splits = _sorted_by_id(splits.select(["publication_number", "family", "split"]), "the splits")
    ids = _one_array(corpus["publication_number"])
    if not splits["publication_number"].equals(corpus["publication_number"]):
        found = pc.index_in(ids, value_set=_one_array(splits["publication_number"]))
        if found.null_count:
            missing = ids.filter(found.is_null())
            raise UserError(
                f"{len(missing)} of {len(ids)} patents have no split, the first is {missing[0].as_py()!r}: negatives "
                "must come from their anchor's own split; run the split step on this very corpus"
            )
        splits = splits.take(found)
    code, names = _numbered(pc.list_flatten(corpus["codes"]))
    code_rank, levels, main_groups = _levels(names)
    return Patents(
        ids=ids,
        hash=hash_strings(ids, seed),
        family=_numbered(splits["family"])[0],
        split=_numbered(splits["split"])[0],
        code_start=_starts(pc.fill_null(pc.list_value_length(corpus["codes"]), 0).to_numpy()),
        code=code_rank[code],
        levels=levels,
        main_groups=main_groups,
    )


def _levels(codes: list[str]) -> tuple[Int32, tuple[Level, Level, Level], list[str]]:
    """The rank of each code, the keys and containers of the rungs, and the main groups in order of their numbers."""

    def in_hash_order(names: list[str], above: Int32) -> tuple[Int32, UInt64]:
        hashes = hash_strings(pa.array(names, pa.string()), 0)
        order = np.lexsort((hashes, above))
        rank = np.empty(len(names), np.int32)
        rank[order] = np.arange(len(names), dtype=np.int32)
        return rank, hashes[order]

    def above(names: list[str], name: Callable[[str], str]) -> tuple[list[str], Int32]:
        number: dict[str, int] = {}
        numbers = [number.setdefault(name(item), len(number)) for item in names]
        return list(number), np.array(numbers, np.int32)

    groups, group_of_code = above(codes, ipc.main_group)
    subclasses, subclass_of_group = above(groups, ipc.subclass)
    subclass_rank, subclass_hash = in_hash_order(subclasses, np.zeros(len(subclasses), np.int32))
    group_rank, group_hash = in_hash_order(groups, subclass_rank[subclass_of_group])
    code_rank, _ = in_hash_order(codes, group_rank[group_of_code])
    group = np.empty(len(codes), np.int32)
    group[code_rank] = group_rank[group_of_code]
    subclass = np.empty(len(groups), np.int32)
    subclass[group_rank] = subclass_rank[subclass_of_group]
    levels = (
        Level(np.arange(len(codes), dtype=np.int32), group, group_hash),
        Level(group, subclass, subclass_hash),
        Level(subclass[group], np.zeros(len(subclasses), np.int32), np.zeros(1, np.uint64)),
    )
    return code_rank, levels, [groups[i] for i in np.argsort(group_rank).tolist()]


def hash_strings(strings: pa.Array, seed: int) -> UInt64:
    """A 64-bit hash of each string and the seed, the same on every machine and in every process."""
    width = np.int64 if pa.types.is_large_string(strings.type) else np.int32
    out = np.empty(len(strings), np.uint64)
    first = np.uint64(seed % 2**64)
    for low in range(0, len(strings), 1 << 20):
        part = strings.slice(low, 1 << 20)
        _, offsets_buffer, data = part.buffers()
        offsets = np.frombuffer(offsets_buffer, width)[part.offset : part.offset + len(part) + 1].astype(np.int64)
        begin, length = offsets[:-1] - offsets[0], np.diff(offsets)
        raw = np.zeros(offsets[-1] - offsets[0] + 8, np.uint8)
        if data is not None:
            raw[:-8] = np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]]
        # Eight bytes from any offset as one little-endian word; the bytes past a string's end are masked away.
        words = np.ndarray((len(raw) - 7,), "<u8", raw, strides=(1,))
        state = mix64(length.astype(np.uint64) + mix64(np.full(len(part), first)))
        for at in range(0, int(length.max(initial=0)), 8):
            rows = np.flatnonzero(length > at)
            spare = np.maximum(at + 8 - length[rows], 0).astype(np.uint64) * np.uint64(8)
            word = words[begin[rows] + at] & (np.uint64(2**64 - 1) >> spare)
            state[rows] = mix64(state[rows] ^ word)
        out[low : low + len(part)] = state
    return out


def mix64(values: UInt64) -> UInt64:
    """The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)."""
    x = values + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks()


def _sorted_by_id(table: pa.Table, what: str) -> pa.Table:
    ids = _one_array(table["publication_number"])
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        table = table.take(pc.sort_indices(ids))
        ids = _one_array(table["publication_number"])
        repeated = ids[1:].filter(pc.equal(ids[:-1], ids[1:]))
        if len(repeated):
            raise UserError(
                f"{what} has {len(repeated)} repeated publication numbers, the first is {repeated[0].as_py()!r}: "
                "an id must name one patent, or it could be its own negative; remove the repeats"
            )
    return table


def _numbered(column: pa.ChunkedArray) -> tuple[Int32, list[str]]:
    """Each value's number and the distinct values."""
    chunks = column.dictionary_encode().unify_dictionaries().chunks
    if not chunks:
        return np.zeros(0, np.int32), []
    return np.concatenate([chunk.indices.to_numpy() for chunk in chunks]), chunks[0].dictionary.to_pylist()


def _starts(lengths: NDArray[Any]) -> Int64:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])


def _anchor_rows(patents: Patents, anchors: pa.Array | None) -> Int32:
    if anchors is None:
        return np.arange(len(patents), dtype=np.int32)
    anchors = pc.unique(anchors)
    rows = pc.index_in(anchors, value_set=patents.ids)
    if rows.null_count:
        unknown = anchors.filter(rows.is_null())
        raise UserError(
            f"{len(unknown)} anchors are not in the corpus, the first is {unknown[0].as_py()!r}: there are no codes to "
            "find negatives by; take the anchors from this corpus"
        )
    return np.sort(rows.to_numpy())


def _largest_groups(patents: Patents, top: int = 10) -> list[dict[str, Any]]:
    _, group = patents.pairs(patents.levels[1].key_of_code)
    size = np.bincount(group, minlength=len(patents.main_groups)).tolist()
    largest = sorted(range(len(size)), key=lambda i: (-size[i], patents.main_groups[i]))[:top]
    return [{"main_group": patents.main_groups[i], "patents": size[i]} for i in largest]


# --- rings -----------------------------------------------------------------------------------------------------------


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
    first = np.flatnonzero(_changes(row) | _changes(container))
    # A patent is listed under its most frequent key (ties: the lower cell): a key that all patents of a container carry
    # then holds all of them, and none of them is looked at in vain.
    crowd = np.bincount(cell, minlength=cells)
    low = np.int64(2**32 - 1)
    listed = (np.maximum.reduceat((crowd[cell] << 32) | (low - cell), first) & low) if len(first) else first
    listed = low - listed
    pair_row = row[first]
    cell_start = _starts(np.bincount(listed, minlength=cells))
    member = (np.sort((listed << 32) | pair_row) & low).astype(np.int32)
    first_cell = np.searchsorted(cell_container, np.arange(len(container_hash) + 1))
    return Ring(
        member=member,
        container_start=cell_start[first_cell],
        container_hash=container_hash,
        cell_start=cell_start,
        patent_start=_starts(np.bincount(pair_row, minlength=n)),
        pair_container=container[first],
        pair_start=np.append(first, len(row)),
        own_cell=cell,
        key_start=key_start,
        key=key,
        signature=_signatures(key_start, key),
        family=family,
    )


def _changes(values: NDArray[Any]) -> NDArray[np.bool_]:
    out = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=out[1:])
    return out


def _signatures(key_start: Int64, key: Int32) -> UInt64:
    bits = np.uint64(1) << (mix64(key.astype(np.uint64)) >> np.uint64(58))
    signature = np.zeros(len(key_start) - 1, np.uint64)
    filled = np.flatnonzero(np.diff(key_start))
    if len(filled):
        signature[filled] = np.bitwise_or.reduceat(bits, key_start[:-1][filled])
    return signature


class Ladder:
    """The rings of all rungs over one set of patents, each built when it is first needed."""

    def __init__(self, patents: Patents, group_cap: int) -> None:
        self._patents = patents
        self._group_cap = group_cap
        self._rings: dict[int, Ring] = {}

    def candidates(self, anchors: Int32, tally: Tally, rung: int, which: Int64, k: int) -> tuple[Int32, Int64]:
        """For ``anchors[which]``, up to ``k`` candidates of one rung each (rows, -1 after the last), and how many."""
        if rung not in self._rings:
            self._rings[rung] = self._build(rung)
        ring, rows = self._rings[rung], anchors[which]
        counts = ring.patent_start[rows + 1] - ring.patent_start[rows]
        pairs = _ranges(ring.patent_start[rows], counts)
        found = walk(ring, np.repeat(rows, counts), pairs, np.repeat(self._patents.hash[rows], counts), k, tally)
        return take_turns(found, counts, self._patents.hash[rows])

    def _build(self, rung: int) -> Ring:
        patents = self._patents
        level = patents.levels[rung]
        container_of_key, names_hash = level.container_of_key, level.container_hash
        row, key = patents.pairs(level.key_of_code)
        container, split = container_of_key[key], patents.split[row]
        # One container for each split and bucket, each with all cells of its keys; most stay empty.
        containers = len(names_hash)
        place = split.astype(np.int64) * containers + container
        first = _changes(row) | _changes(container)
        size = np.bincount(place[first], minlength=(int(split.max(initial=0)) + 1) * containers)
        buckets = np.maximum(-(-size // self._group_cap), 1)
        keys = np.bincount(container_of_key, minlength=containers)
        all_keys = np.tile(keys, len(size) // containers)
        bucket = bucket_of(patents.hash[row], names_hash[container], buckets[place])
        cell = _starts(buckets * all_keys)[place] + bucket * keys[container] + key - _starts(keys)[container]
        cell_container = np.repeat(np.arange(buckets.sum(), dtype=np.int32), np.repeat(all_keys, buckets))
        return assemble(
            row,
            cell.astype(np.int32),
            cell_container,
            np.repeat(np.tile(names_hash, len(size) // containers), buckets),
            _starts(np.bincount(row, minlength=len(patents))),
            key,
            patents.family,
        )


def bucket_of(anchor_hash: UInt64, container_hash: UInt64, buckets: Int64) -> Int64:
    """The bucket, out of ``buckets``, of a patent in a container."""
    out = np.zeros(len(buckets), np.int64)
    cut = np.flatnonzero(buckets > 1)
    out[cut] = mix64(anchor_hash[cut] + mix64(container_hash[cut])) % buckets[cut].astype(np.uint64)
    return out


def _ranges(starts: Int64, lengths: Int64) -> Int64:
    """``starts[0], starts[0] + 1, ... (lengths[0] of them), starts[1], ...``"""
    ends = np.cumsum(lengths)
    return np.arange(int(ends[-1]) if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


# --- walks -----------------------------------------------------------------------------------------------------------


def walk(ring: Ring, rows: Int32, pairs: Int64, anchor_hash: UInt64, k: int, tally: Tally) -> Int32:
    """Up to ``k`` candidates for each pair (with its patent and the patent's hash), (len(pairs), k), -1 after the last.

    The first j candidates do not depend on ``k``.
    """
    found = np.full((len(pairs), k), -1, np.int32)
    step = max(_CHUNK // k, 1)
    for low in range(0, len(pairs), step):
        part = slice(low, low + step)
        _walk(ring, rows[part], pairs[part], anchor_hash[part], found[part], tally)
    return found


def _walk(ring: Ring, rows: Int32, pairs: Int64, anchor_hash: UInt64, found: Int32, tally: Tally) -> None:
    k = found.shape[1]
    container = ring.pair_container[pairs]
    begin, end = ring.container_start[container], ring.container_start[container + 1]
    cells = ring.pair_start[pairs + 1] - ring.pair_start[pairs]
    own = ring.own_cell[_ranges(ring.pair_start[pairs], cells)]
    own_start, own_size = ring.cell_start[own], ring.cell_start[own + 1] - ring.cell_start[own]
    first_own = _starts(cells)
    outside = end - begin - np.add.reduceat(own_size, first_own[:-1])  # members under other keys than the anchor's
    draw = mix64(anchor_hash ^ mix64(ring.container_hash[container]))
    safe = np.maximum(outside, 1)
    start = (draw % safe.astype(np.uint64)).astype(np.int64)
    stride = _coprime((mix64(draw) % safe.astype(np.uint64)).astype(np.int64), safe)
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
            allowed &= ~_common_key(ring, anchor, candidate, allowed)
            tally.filtered["same_family"] += int(np.count_nonzero(inside & ~other_family))
            tally.filtered["shared_code"] += int(np.count_nonzero(inside & other_family & ~allowed))
            place = got[piece, None] + np.cumsum(allowed, axis=1) - 1
            allowed &= place < k
            r, c = np.nonzero(allowed)
            found[piece[r], place[r, c]] = candidate[r, c]
            got[piece] += np.count_nonzero(allowed, axis=1)
        tried += width
        width = min(2 * width, 1024)
        cut = (got[active] < k) & (tried >= MAX_PROBES) & (outside[active] > MAX_PROBES)
        tally.walks_cut += int(np.count_nonzero(cut))
        active = active[(got[active] < k) & (tried < limit[active])]


def _coprime(stride: Int64, size: Int64) -> Int64:
    """The first number from ``stride`` up that has no factor in common with ``size``."""
    stride = np.maximum(stride, 1)
    rows = np.arange(len(stride))
    while len(rows):
        rows = rows[np.gcd(stride[rows], size[rows]) != 1]
        stride[rows] += 1
    return stride


def _common_key(ring: Ring, anchor: Int32, candidate: Int32, where: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the two patents have a key in common; computed only ``where``."""
    common: NDArray[np.bool_] = where & ((ring.signature[anchor] & ring.signature[candidate]) != 0)
    r, c = np.nonzero(common)
    if not len(r):
        return common
    a, b = anchor[r, 0], candidate[r, c]
    sizes = np.diff(ring.key_start)
    work = _starts(sizes[a] * sizes[b])
    cuts = np.searchsorted(work, np.arange(0, work[-1], 4 * _CHUNK), side="left").tolist()
    for low, high in zip(cuts, [*cuts[1:], len(r)], strict=True):  # every key of a against every key of b
        lefts, rights = a[low:high], b[low:high]
        left = _ranges(ring.key_start[lefts], sizes[lefts])
        times = np.repeat(sizes[rights], sizes[lefts])
        right = _ranges(np.repeat(ring.key_start[rights], sizes[lefts]), times)
        equal = ring.key[np.repeat(left, times)] == ring.key[right]
        if high > low:
            common[r[low:high], c[low:high]] = np.logical_or.reduceat(equal, work[low:high] - work[low])
    return common


def take_turns(found: Int32, counts: Int64, anchor_hash: UInt64) -> tuple[Int32, Int64]:
    """Merge the candidates of an anchor's containers: the containers take turns, and a candidate counts once.

    ``found`` (pairs, k) holds the anchors' pairs one after the other, ``counts`` (anchors) of each. Returns the first k
    distinct candidates, (anchors, k) with -1 after the last, and how many there are. Who begins is drawn.
    """
    n, k = len(counts), found.shape[1]
    begin = _starts(counts) * k
    turn = np.arange(len(found)) - np.repeat(_starts(counts)[:-1], counts)
    many = np.repeat(np.maximum(counts, 1), counts)
    drawn = (np.repeat(mix64(anchor_hash), counts) % many.astype(np.uint64)).astype(np.int64)
    slot = np.repeat(begin[:-1], counts) + (turn + drawn) % many
    queue = np.empty(found.size, np.int32)
    queue[slot[:, None] + np.arange(k) * many[:, None]] = found
    owner = np.repeat(np.arange(n), counts * k)
    shared = np.flatnonzero((queue >= 0) & np.repeat(counts > 1, counts * k))
    order = shared[np.argsort((owner[shared] << 32) | queue[shared], kind="stable")]
    again = ~(_changes(owner[order]) | _changes(queue[order]))
    queue[order[again]] = -1
    kept = queue >= 0
    place: Int64 = np.cumsum(kept) - kept
    place -= np.repeat(np.append(place, 0)[begin[:-1]], counts * k)
    kept &= place < k
    merged = np.full((n, k), -1, np.int32)
    merged[owner[kept], place[kept]] = queue[kept]
    return merged, np.count_nonzero(merged >= 0, axis=1)


# --- the choice ------------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What the report counts."""

    anchors: int = 0
    rungs: Counter[str] = field(default_factory=Counter)
    shortfall: Counter[int] = field(default_factory=Counter)  # negatives missing → anchors
    filtered: Counter[str] = field(default_factory=Counter)
    walks_cut: int = 0
    without: int = 0

    def count(self, k: int, counts: Int64, rungs: Int32) -> None:
        self.anchors += len(counts)
        for rung, number in enumerate(np.bincount(rungs, minlength=len(RUNGS)).tolist()):
            self.rungs[RUNGS[rung]] += number
        missing, anchors = np.unique(k - counts, return_counts=True)
        self.shortfall.update(dict(zip(missing.tolist(), anchors.tolist(), strict=True)))
        self.without += int(np.count_nonzero(counts == 0))

    def report(self) -> dict[str, Any]:
        return {
            "anchors": self.anchors,
            "negatives": sum(self.rungs.values()),
            "rungs": {rung: self.rungs[rung] for rung in RUNGS},
            "shortfall": {str(missing): self.shortfall[missing] for missing in sorted(self.shortfall) if missing},
            "anchors_without_negatives": self.without,
            "filtered": {reason: self.filtered[reason] for reason in ("same_family", "shared_code")},
            "walks_cut": self.walks_cut,
        }


class Draw(Protocol):
    """``draw(rung, which, k)``: candidates of the block's anchors ``which``, see ``Ladder.candidates``."""

    def __call__(self, rung: int, which: Int64, k: int) -> tuple[Int32, Int64]: ...


def climb(draw: Draw, anchor_hash: UInt64, config: NegativesConfig) -> tuple[Int32, Int32, Int64]:
    """Choose the negatives of a block of anchors: their rows, their rungs, and how many each anchor has.

    Each rung is asked for its quota. What it lacks is asked of the rungs below it, and what those lack, of the rungs
    above, from the bottom up. Only ``same_subclass_different_group`` never turns to the same main group.
    """
    n, k = len(anchor_hash), config.per_positive
    quota = quotas(anchor_hash, config)
    top = 1 if config.strategy == "same_subclass_different_group" else 0
    lists = np.full((n, len(RUNGS), k), -1, np.int32)
    found = np.full((n, len(RUNGS)), -1, np.int64)  # -1: not asked yet
    taken = np.zeros((n, len(RUNGS)), np.int64)
    owed = np.zeros(n, np.int64)
    for rung in (*range(top, len(RUNGS)), *range(len(RUNGS) - 2, top - 1, -1)):
        owed += quota[:, rung]
        quota[:, rung] = 0
        which = np.flatnonzero((owed > 0) & (found[:, rung] < 0))
        if len(which):
            lists[which, rung], found[which, rung] = draw(rung, which, k)
        more = np.minimum(owed, np.maximum(found[:, rung], 0) - taken[:, rung])
        taken[:, rung] += more
        owed -= more
    kept = np.arange(k) < taken[:, :, None]
    rungs = np.broadcast_to(np.arange(len(RUNGS), dtype=np.int32)[:, None], kept.shape)
    return lists[kept], rungs[kept], taken.sum(axis=1)


def quotas(anchor_hash: UInt64, config: NegativesConfig) -> Int64:
    """How many negatives each rung is asked for first, (anchors, rungs)."""
    n, k = len(anchor_hash), config.per_positive
    shares = [config.shares.same_main_group, config.shares.same_subclass, config.shares.random]
    quota = np.zeros((n, len(RUNGS)), np.int64)
    if config.strategy == "mixed":
        bounds = np.cumsum(shares)[:-1]
        state = anchor_hash
        for _ in range(k):
            state = mix64(state)
            quota[np.arange(n), np.searchsorted(bounds, (state >> np.uint64(11)) / 2.0**53, side="right")] += 1
    elif config.strategy == "optimized_mixed":
        quota[:] = largest_remainder(shares, k)
    else:
        quota[:, {"same_group_priority": 0, "same_subclass_different_group": 1, "random": 2}[config.strategy]] = k
    return quota


def largest_remainder(shares: list[float], k: int) -> list[int]:
    """``k`` split by ``shares`` into whole numbers; what rounding leaves goes to the largest fractions first."""
    exact = [round(share * k, 9) for share in shares]
    whole = [math.floor(number) for number in exact]
    by_fraction = sorted(range(len(shares)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_fraction[: k - sum(whole)]:
        whole[i] += 1
    return whole


def to_batch(ids: pa.Array, anchors: Int32, negatives: Int32, rungs: Int32, counts: Int64) -> pa.RecordBatch:
    """Rows of ``SCHEMA`` for ``anchors`` with ``counts`` negatives each."""
    rank = np.arange(len(negatives)) - np.repeat(_starts(counts)[:-1], counts)
    columns = [
        ids.take(pa.array(np.repeat(anchors, counts))),
        pa.array(rank.astype(np.int32)),
        ids.take(pa.array(negatives)),
        pa.array(RUNGS).take(pa.array(rungs)),
        pa.nulls(len(negatives), pa.float32()),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
