"""The patents as arrays: ids, families, splits, and the levels of their classification."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from patent_embed import ipc
from patent_embed.arrays import Int32, Int64, UInt64, changes, numbered, owners_of, starts_of
from patent_embed.errors import UserError
from patent_embed.hashing import hash_strings


@dataclass(frozen=True)
class Level:
    """The keys of one rung and the containers they sit in.

    Numbers are in the order of the hashes of the names, keys container by container, so that the numbers of any subset
    keep their order.

    Attributes:
        key_of_code: (codes,) the key above each full code.
        key_hash: (keys,) of the keys' names.
        container_of_key: (keys,) ascending.
        container_hash: (containers,) of the containers' names.
    """

    key_of_code: Int32
    key_hash: UInt64
    container_of_key: Int32
    container_hash: UInt64


@dataclass(frozen=True)
class Classes:
    """Code lists as arrays: the codes of row ``i`` are ``code[start[i]:start[i + 1]]``.

    ``levels`` are those of the rungs, ``main_groups`` the names of the second level's keys by number.
    """

    start: Int64
    code: Int32
    levels: tuple[Level, Level, Level]
    main_groups: list[str]

    def keys(self, rung: int) -> tuple[Int32, Int32]:
        """Distinct (row, key of the rung), in order: two columns (m,)."""
        row = owners_of(np.diff(self.start))
        packed = np.sort((row << 32) | self.levels[rung].key_of_code[self.code])
        packed = packed[changes(packed)]
        return (packed >> 32).astype(np.int32), (packed & 0xFFFFFFFF).astype(np.int32)


def read_classes(codes: pa.ChunkedArray) -> Classes:
    """The arrays of a column of code lists; a missing list is an empty one."""
    code, distinct = numbered(pc.list_flatten(codes))
    names = distinct.to_pylist()
    groups, group_of_code = _above(names, ipc.main_group)
    subclasses, subclass_of_group = _above(groups, ipc.subclass)
    top = np.zeros(len(subclasses), np.int32)
    subclass_rank, subclass_hash = _in_hash_order(subclasses, top)
    group_rank, group_hash = _in_hash_order(groups, subclass_rank[subclass_of_group])
    code_rank, code_hash = _in_hash_order(names, group_rank[group_of_code])
    group, subclass = np.empty(len(names), np.int32), np.empty(len(groups), np.int32)
    group[code_rank] = group_rank[group_of_code]
    subclass[group_rank] = subclass_rank[subclass_of_group]
    return Classes(
        start=starts_of(pc.fill_null(pc.list_value_length(codes), 0).to_numpy()),
        code=code_rank[code],
        levels=(
            Level(np.arange(len(names), dtype=np.int32), code_hash, group, group_hash),
            Level(group, group_hash, subclass, subclass_hash),
            Level(subclass[group], subclass_hash, top, np.zeros(1, np.uint64)),
        ),
        main_groups=[groups[i] for i in np.argsort(group_rank).tolist()],
    )


def _above(names: list[str], name_above: Callable[[str], str]) -> tuple[list[str], Int32]:
    number: dict[str, int] = {}
    numbers = [number.setdefault(name_above(name), len(number)) for name in names]
    return list(number), np.array(numbers, np.int32)


def _in_hash_order(names: list[str], above: Int32) -> tuple[Int32, UInt64]:
    """The rank of each name by (number of the name above it, hash), and the hashes in that order."""
    hashes = hash_strings(pa.array(names, pa.string()), 0)
    order = np.lexsort((hashes, above))
    rank = np.empty(len(names), np.int32)
    rank[order] = np.arange(len(names), dtype=np.int32)
    return rank, hashes[order]


@dataclass(frozen=True)
class Patents:
    """Patents in the order of their ids; everything else refers to them by row number.

    Attributes:
        ids: (n,) publication numbers, ascending.
        hash: (n,) of id and seed: what is random about an anchor.
        family, split: (n,) numbers of the names.
    """

    ids: pa.Array
    hash: UInt64
    family: Int32
    split: Int32
    classes: Classes

    def __len__(self) -> int:
        return len(self.hash)

    def group_sizes(self) -> dict[str, int]:
        """Patents of each main group."""
        names = self.classes.main_groups
        sizes = np.bincount(self.classes.keys(1)[1], minlength=len(names))
        return dict(zip(names, sizes.tolist(), strict=True))


def read_patents(corpus: pa.Table, splits: pa.Table, seed: int) -> Patents:
    """The arrays of ``corpus`` (``publication_number, codes``) and ``splits`` (``publication_number, family, split``).

    Raises UserError for repeated ids and ids without a split.
    """
    corpus = sorted_by_id(corpus.select(["publication_number", "codes"]), "the corpus")
    splits = sorted_by_id(splits.select(["publication_number", "family", "split"]), "the splits")
    ids = corpus["publication_number"].combine_chunks()
    if not splits["publication_number"].equals(corpus["publication_number"]):
        found = pc.index_in(ids, value_set=splits["publication_number"].combine_chunks())
        if found.null_count:
            missing = ids.filter(found.is_null())
            raise UserError(
                f"{len(missing)} of {len(ids)} patents have no split, the first is {missing[0].as_py()!r}: negatives "
                "must come from their anchor's own split; run the split step on this very corpus"
            )
        splits = splits.take(found)
    return Patents(
        ids=ids,
        hash=hash_strings(ids, seed),
        family=numbered(splits["family"])[0],
        split=numbered(splits["split"])[0],
        classes=read_classes(corpus["codes"]),
    )


def sorted_by_id(table: pa.Table, what: str) -> pa.Table:
    """``table`` in the order of its ids. Raises UserError when one is repeated; ``what`` names the table."""
    ids = table["publication_number"].combine_chunks()
    if len(ids) > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        table = table.take(pc.sort_indices(ids))
        ids = table["publication_number"].combine_chunks()
        repeated = ids[1:].filter(pc.equal(ids[:-1], ids[1:]))
        if len(repeated):
            raise UserError(
                f"{what} has {len(repeated)} repeated publication numbers, the first is {repeated[0].as_py()!r}: "
                "an id must name one patent, or it could be its own negative; remove the repeats"
            )
    return table
