"""The negatives of ``drawn``, in parts that fit anywhere: what each task of a cluster does, without the cluster.

1. ``count_members``    corpus block    → its patents, by container
2. ``entries``          corpus block    → one row for each (patent, container, rung), with the bucket's part number
3. ``search_part``      all entries of some containers → up to k candidates for each entry
4. ``choose``           all candidates of a block of anchors → their negatives

Between them go row numbers, hashes of codes and families, never a text. The searches and the choice are those of the
single process, and so are their results; only the counts of refused candidates are higher, since every rung is searched
for every anchor.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patent_embed.arrays import Int32, Int64, UInt64, changes, distinct, numbered, places_in, ranges_of, starts_of
from patent_embed.config.negatives import NegativesConfig
from patent_embed.errors import UserError
from patent_embed.hashing import hash_strings, mix64
from patent_embed.negatives.drawn import to_batch
from patent_embed.negatives.ladder import RUNGS, climb
from patent_embed.negatives.patents import Classes, read_classes, sorted_by_id
from patent_embed.negatives.rings import assemble, bucket_of, take_turns, walk
from patent_embed.negatives.tally import SEARCH_COUNTS, Tally


@dataclass(frozen=True)
class IdIndex:
    """All patents in the order of their ids, and how to find one's row number. 21 bytes a patent, and the ids.

    Attributes:
        ids: (n,) publication numbers, ascending.
        family, split: (n,) numbers of the names.
        id_hash: (n,) of the ids, ascending; ``row_of_hash`` (n,) are their row numbers.
    """

    ids: pa.Array
    family: Int32
    split: Int32
    id_hash: UInt64
    row_of_hash: Int32

    @classmethod
    def of(cls, splits: pa.Table) -> IdIndex:
        """From ``publication_number, family, split``. Raises UserError for repeated ids."""
        splits = sorted_by_id(splits, "the splits")
        ids = splits["publication_number"].combine_chunks()
        hashes = hash_strings(ids, 0)
        order = np.argsort(hashes).astype(np.int32)
        return cls(ids, numbered(splits["family"])[0], numbered(splits["split"])[0], hashes[order], order)

    def rows(self, ids: pa.Array) -> Int32:
        """The row number of each id, -1 for an unknown one."""
        if len(ids) > 1:  # a stretch of all ids, as the parts of a corpus are
            first = int(self.rows(ids[:1])[0])
            if first >= 0 and self.ids.slice(first, len(ids)).equals(ids):
                return np.arange(first, first + len(ids), dtype=np.int32)
        at = np.minimum(np.searchsorted(self.id_hash, hash_strings(ids, 0)), max(len(self.id_hash) - 1, 0))
        rows = self.row_of_hash[at]
        known = pc.equal(self.ids.take(pa.array(rows)), ids).to_numpy(zero_copy_only=False)
        return np.where(known, rows, np.int32(-1))


@dataclass(frozen=True)
class Buckets:
    """Into how many buckets each container that is too large is cut: ``count`` (m,) by ``place`` (m,), ascending."""

    place: UInt64
    count: Int64

    @classmethod
    def of(cls, place: UInt64, members: Int64, group_cap: int) -> Buckets:
        """From all containers, in any order, and how many patents each has."""
        order = np.argsort(place)
        count = -(-members[order] // group_cap)
        return cls(place[order][count > 1], count[count > 1])

    def of_place(self, place: UInt64) -> Int64:
        """The number of buckets of each container: 1 for one that is not cut."""
        out = np.ones(len(place), np.int64)
        if len(self.place):
            at = np.minimum(np.searchsorted(self.place, place), len(self.place) - 1)
            cut = self.place[at] == place
            out[cut] = self.count[at[cut]]
        return out


def place_of(rung: int, split: Int32, container_hash: UInt64, bucket: Int64 | int = 0) -> UInt64:
    """One number for the container of one rung, split and bucket."""
    return mix64(
        mix64(container_hash + np.uint64(rung)) + mix64(split.astype(np.uint64)) + np.asarray(bucket, np.uint64)
    )


def _memberships(classes: Classes, rung: int) -> tuple[Int32, UInt64, Int64, Int32, Int32]:
    """Row and container hash of each (row, container), where its keys begin, and all (row, key)."""
    row, key = classes.keys(rung)
    level = classes.levels[rung]
    container = level.container_of_key[key]
    first = np.flatnonzero(changes(row, container))
    return row[first], level.container_hash[container[first]], np.append(first, len(row)), row, key


@dataclass(frozen=True)
class ContainerCounts:
    """The containers of a corpus, whole, and what shows that the corpus is the expected one.

    Attributes:
        place, members: (containers,) ``place_of`` each, and how many patents it has.
        main_groups: patents of each main group.
        patents: rows of the corpus.
        checksum: of their row numbers.
        unknown: ids that the splits do not have, one for each batch with any.
    """

    place: UInt64
    members: Int64
    main_groups: dict[str, int]
    patents: int
    checksum: int
    unknown: tuple[str, ...]

    @classmethod
    def of(cls, counts: pa.Table) -> ContainerCounts:
        """From all rows of ``count_members`` together."""

        def rows(kind: str) -> pa.Table:
            return counts.filter(pc.equal(counts["kind"], kind)).combine_chunks()

        container, patents, groups = rows("container"), rows("patents"), rows("main_group")
        places = container.group_by("place").aggregate([("members", "sum")])
        by_name = groups.group_by("name").aggregate([("members", "sum")]).to_pylist()
        return cls(
            place=places["place"].to_numpy(),
            members=places["members_sum"].to_numpy(),
            main_groups={row["name"]: row["members_sum"] for row in by_name},
            patents=int(patents["members"].to_numpy().sum()),
            checksum=int(np.bitwise_xor.reduce(patents["place"].to_numpy(), initial=0)),
            unknown=tuple(rows("unknown")["name"].to_pylist()),
        )

    def check(self, index: IdIndex) -> None:
        """Raises UserError unless the corpus has every patent of ``index`` once, and no other."""
        if self.unknown:
            raise UserError(
                f"the corpus has {self.unknown[0]!r}, which has no split: negatives must come from their anchor's own "
                "split; run the split step on this very corpus"
            )
        known = len(index.ids)
        if self.patents != known or self.checksum != _checksum(np.arange(known, dtype=np.int32)):
            raise UserError(
                f"the corpus has {self.patents} patents, the splits have {known}, or a patent is repeated: a patent "
                "could be its own negative, or miss those that are lost; run the split step on this very corpus"
            )


def count_members(batch: pa.Table, index: IdIndex) -> pa.Table:
    """The share of ``batch`` (``publication_number, codes``) in ``ContainerCounts``: ``kind, place, members, name``."""
    ids = batch["publication_number"].combine_chunks()
    rows = index.rows(ids)
    unknown = ids.filter(pa.array(rows < 0)).slice(0, 1)
    tables = [
        _counts("patents", np.array([_checksum(rows)], np.uint64), np.array([len(rows)])),
        _counts("unknown", np.zeros(len(unknown), np.uint64), np.ones(len(unknown)), unknown),
    ]
    classes = read_classes(batch["codes"])
    for rung in range(len(RUNGS)):
        local, container_hash, *_ = _memberships(classes, rung)
        place, number = distinct(place_of(rung, index.split[rows[local]], container_hash))
        tables.append(_counts("container", place, np.bincount(number, minlength=len(place))))
    _, group = classes.keys(1)
    sizes = np.bincount(group, minlength=len(classes.main_groups))
    names = pa.array(classes.main_groups, pa.string())
    tables.append(_counts("main_group", np.zeros(len(sizes), np.uint64), sizes, names))
    return pa.concat_tables(tables)


def _checksum(rows: Int32) -> int:
    return int(np.bitwise_xor.reduce(mix64(rows.astype(np.uint64)), initial=0))


def _counts(kind: str, place: UInt64, members: NDArray[Any], names: pa.Array | None = None) -> pa.Table:
    return pa.table(
        {
            "kind": pa.array([kind] * len(place), pa.string()),
            "place": place,
            "members": members.astype(np.int64),
            "name": pa.nulls(len(place), pa.string()) if names is None else names,
        }
    )


def entries(batch: pa.Table, index: IdIndex, buckets: Buckets, seed: int, parts: int) -> pa.Table:
    """One row for each patent of ``batch``, rung and container: what ``search_part`` needs to know.

    ``keys`` are all keys of the patent on the rung, the first ``own`` of them are those of the container; ``turn``
    numbers the patent's containers, ``part`` the task, of ``parts``, that searches the container.
    """
    ids = batch["publication_number"].combine_chunks()
    rows, hashes = index.rows(ids), hash_strings(ids, seed)
    classes = read_classes(batch["codes"])
    tables = []
    for rung in range(len(RUNGS)):
        local, container_hash, begin, key_row, key = _memberships(classes, rung)
        split = index.split[rows[local]]
        place = place_of(rung, split, container_hash)
        bucket = bucket_of(hashes[local], container_hash, buckets.of_place(place))
        place = place_of(rung, split, container_hash, bucket + 1)
        key_start = starts_of(np.bincount(key_row, minlength=len(rows)))
        length = key_start[local + 1] - key_start[local]
        list_start = starts_of(length)
        # The keys of the patent, turned so that those of this container come first.
        shift = np.repeat(begin[:-1] - key_start[local], length)
        at = np.repeat(key_start[local], length) + (places_in(length) + shift) % np.repeat(length, length)
        tables.append(
            pa.table(
                {
                    "part": (place % np.uint64(parts)).astype(np.int32),
                    "rung": np.full(len(local), rung, np.int8),
                    "row": rows[local],
                    "turn": places_in(np.bincount(local)).astype(np.int16),
                    "place": place,
                    "container": container_hash,
                    "hash": hashes[local],
                    "family": index.family[rows[local]],
                    "own": np.diff(begin).astype(np.int16),
                    "keys": pa.LargeListArray.from_arrays(list_start, classes.levels[rung].key_hash[key[at]]),
                }
            )
        )
    return pa.concat_tables(tables)


def search_part(table: pa.Table, k: int, block_rows: int) -> pa.Table:
    """Candidates (row numbers, -1 after the last) for each of the entries, which hold all of some containers."""
    rungs = table["rung"].to_numpy()
    found = [_search(table.filter(pa.array(rungs == rung)), k, block_rows) for rung in np.unique(rungs).tolist()]
    return pa.concat_tables(found)


def _search(table: pa.Table, k: int, block_rows: int) -> pa.Table:
    places, container = distinct(table["place"].to_numpy())
    order = np.argsort((table["row"].to_numpy().astype(np.int64) << 32) | container)
    table, container = table.take(pa.array(order)).combine_chunks(), container[order]
    row, hashes = table["row"].to_numpy(), table["hash"].to_numpy()
    begins = changes(row)
    first, local = np.flatnonzero(begins), np.cumsum(begins) - 1
    patents = row[first]
    lists = table["keys"].combine_chunks()
    start, length = lists.offsets.to_numpy(), np.diff(lists.offsets.to_numpy())
    _, key = distinct(lists.values.to_numpy())
    # A cell is a (container, key) that occurs; numbers of keys follow their hashes, so cells are in the usual order,
    # and so are those of each patent.
    own = table["own"].to_numpy().astype(np.int64)
    cells, cell = distinct((np.repeat(container, own) << 32) | key[ranges_of(start[:-1], own)])
    ring = assemble(
        np.repeat(local, own).astype(np.int32),
        cell.astype(np.int32),
        (cells >> 32).astype(np.int32),
        _first_of_each(container, table["container"].to_numpy(), len(places)),
        starts_of(length[first]),
        key[ranges_of(start[:-1][first], length[first])].astype(np.int32),
        table["family"].to_numpy()[first],
    )
    tally: Counter[str] = Counter()
    found = walk(ring, local.astype(np.int32), np.arange(len(row)), hashes, k, tally)
    found = np.where(found >= 0, patents[found], -1).astype(np.int32)
    out = {
        "block": row // block_rows,
        "rung": table["rung"],
        "row": row,
        "turn": table["turn"],
        "found": pa.FixedSizeListArray.from_arrays(pa.array(found.ravel()), k),
    }
    for name in SEARCH_COUNTS:  # once a search, in its first row
        out[name] = np.where(np.arange(len(row)) == 0, tally[name], 0)
    return pa.table(out)


def _first_of_each(number: Int64, values: UInt64, numbers: int) -> UInt64:
    out = np.zeros(numbers, np.uint64)
    out[number] = values
    return out


def choose(table: pa.Table, ids: pa.Array, rows: Int32, config: NegativesConfig, seed: int) -> tuple[pa.Table, Tally]:
    """The negatives of the anchors ``rows`` (consecutive), given all candidates found for them, and their counts."""
    first = int(rows[0])
    hashes = hash_strings(ids.slice(first, len(rows)), seed)
    order = np.lexsort((table["turn"].to_numpy(), table["row"].to_numpy(), table["rung"].to_numpy()))
    found = table["found"].combine_chunks().values.to_numpy().reshape(-1, config.per_positive)[order]
    slot = table["rung"].to_numpy()[order].astype(np.int64) * len(rows) + table["row"].to_numpy()[order] - first
    start = np.searchsorted(slot, np.arange(len(RUNGS) * len(rows) + 1))

    def draw(rung: int, which: Int64, k: int) -> tuple[Int32, Int64]:
        at = rung * len(rows) + which
        counts = start[at + 1] - start[at]
        return take_turns(found[ranges_of(start[at], counts)], counts, hashes[which])

    tally = Tally(config.per_positive)
    negatives, rungs, counts = climb(draw, hashes, config)
    tally.count(counts, rungs)
    tally.search.update({name: int(pc.sum(table[name]).as_py()) for name in SEARCH_COUNTS})
    return pa.Table.from_batches([to_batch(ids, rows, negatives, rungs, counts)]), tally
