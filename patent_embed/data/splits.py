"""Families and splits: which patents are one document, and which part of the data each belongs to."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from patent_embed.arrays import inverse_of, numbered, starts_of
from patent_embed.config.splits import SplitsConfig
from patent_embed.data.schemas import SPLIT_TABLE
from patent_embed.errors import UserError
from patent_embed.hashing import hash64, text_key

SPLITS = ("train", "val", "test")
# What more patents share than this, or than a quarter of them, names no family: a column that is the same for all.
LARGEST_FAMILY, SMALLEST_BOUND = 500, 20

_AT_ONCE = 1 << 16  # strings as objects of Python
_NOT_CONTENT = re.compile(r"[\W_]+")
# Kind codes A, B and C are stages of one application (WIPO ST.16); U and Y, of a utility model; others stand alone.
_PUBLICATION = re.compile(r"^([A-Z]{2})-?(\d{5,})-?([A-Z])(\d?)$")
_STAGES = {"A": "A", "B": "A", "C": "A", "U": "U", "Y": "U"}


def abstract_key(abstract: str) -> str:
    """Digest of an abstract without its case, width, punctuation and white space: equal keys are one document."""
    content = _NOT_CONTENT.sub("", unicodedata.normalize("NFKC", abstract).lower())
    return text_key(content)


def application_key(publication_number: str) -> str:
    """The same for the A and B publications of one application: ``CN110450641B`` → ``CN110450641/A``."""
    match = _PUBLICATION.match(publication_number.upper())
    if match is None or match[3] not in _STAGES:
        return publication_number
    return f"{match[1]}{match[2]}/{_STAGES[match[3]]}"


def family_keys(publication_numbers: pa.Array, family_ids: pa.Array) -> tuple[pa.Array, int]:
    """The key that the members of a family share by their source's id (patents,), and how many ids were not believed.

    A patent without an id has a key of its own; so has one whose id too many share.
    """
    most = min(LARGEST_FAMILY, max(SMALLEST_BOUND, len(publication_numbers) // 4))
    told = family_ids.cast(pa.string())
    sizes = pc.value_counts(pc.drop_null(told))
    wrong = sizes.field("values").filter(pc.greater(sizes.field("counts"), most))
    alone = pc.or_(pc.is_null(told), pc.is_in(told, value_set=wrong))
    by_number = pc.binary_join_element_wise("number", publication_numbers, " ")
    return pc.if_else(alone, by_number, pc.binary_join_element_wise("family", told, " ")), len(wrong)


def assign_families(publication_numbers: pa.Array, *keys: pa.Array) -> pa.Array:
    """The family of each patent, named by its smallest publication number.

    Patents are one family when they share an application key or one of ``keys``, such as that of their abstract,
    directly or through others. Each of ``keys`` has one value a patent.
    """
    n = len(publication_numbers)
    columns = [*keys, _each(publication_numbers, application_key)]
    offset, cols = n, []
    for column in columns:  # patents on one side, keys on the other: components of this graph are the families
        inverse, distinct = numbered(column)
        cols.append(inverse + offset)
        offset += len(distinct)
    row, col = np.tile(np.arange(n, dtype=np.int32), len(columns)), np.concatenate(cols)
    graph = coo_matrix((np.ones(len(row), np.int8), (row, col)), shape=(offset, offset))
    _, component = connected_components(graph, directed=False)
    order = pc.sort_indices(publication_numbers).to_numpy()
    first = np.full(offset, n, np.int64)
    np.minimum.at(first, component[:n], inverse_of(order))
    return publication_numbers.take(pa.array(order[first[component[:n]]]))


def _each(strings: pa.Array, key: Callable[[str], str]) -> pa.Array:
    """``key`` of each string, with few of them as objects of Python at a time."""
    parts = (strings.slice(begin, _AT_ONCE) for begin in range(0, len(strings), _AT_ONCE))
    found = [pa.array([key(text) for text in part.to_pylist()], pa.string()) for part in parts]
    return pa.concat_arrays(found) if found else pa.array([], pa.string())


def assign_splits(families: pa.Array, config: SplitsConfig, seed: int) -> pa.Array:
    """The split of each patent by the shares of ``config``, from a hash of its family and the seed alone.

    So a new patent moves no other, with one exception that no rule without memory avoids: when a newcomer joins an
    old family and has its smallest publication number, or links two families, that family is drawn again.
    """
    family, names = numbered(families)
    bounds = (config.train, config.train + config.val)
    drawn = np.searchsorted(bounds, _positions(names, seed), side="right")
    return pa.array(SPLITS).take(pa.array(drawn[family]))


def _positions(families: pa.Array, seed: int) -> NDArray[np.float64]:
    """Where families stand, 0 to 1."""
    hashes = (hash64(family.as_py(), seed, "split") / 2**64 for family in families)
    return np.fromiter(hashes, np.float64, len(families))


def limit_splits(families: pa.Array, splits: pa.Array, config: SplitsConfig, seed: int) -> pa.Array:
    """``splits`` as ``assign_splits`` gave them, with val and test of ``config.max_val`` and ``max_test`` patents at
    most: the families with the lowest hashes stay, the others are trained on. One family always stays.

    A newcomer may send an old family of a full split to train. Where patents only come, and draw no family again, none
    comes from train: what an earlier model was trained on is not tested on later.
    """
    for split, most in _limits(config).items():
        mine = pc.equal(splits, split)
        if (pc.sum(mine).as_py() or 0) <= most:
            continue
        family, names = numbered(families.filter(mine))
        order = np.lexsort((pc.rank(names, tiebreaker="dense").to_numpy(), _positions(names, seed)))
        filled = np.cumsum(np.bincount(family)[order])
        kept = names.take(pa.array(order[: max(1, int(np.searchsorted(filled, most, side="right")))]))
        splits = pc.if_else(pc.and_(mine, pc.invert(pc.is_in(families, value_set=kept))), SPLITS[0], splits)
    return splits


def _limits(config: SplitsConfig) -> dict[str, int]:
    limits = {"val": config.max_val, "test": config.max_test}
    return {split: most for split, most in limits.items() if most is not None}


def split_by_date(families: Sequence[str], dates: Sequence[str | None], config: SplitsConfig) -> list[str]:
    """The split of each patent: the past is trained on, what was published later is validated and tested on.

    A family has the date of its first publication, since its texts were known from then on. Families of one date stay
    together, in the earlier split, so shares are met as nearly as dates allow. A split that would be larger than
    ``config.max_val`` or ``max_test`` begins later, with its last day at the latest. A family without a date is trained
    on: nobody can say that it came later.

    Raises UserError where no patent of val or of test would be left.
    """
    first: dict[str, str] = {}
    for family, date in zip(families, dates, strict=True):
        if date is not None:
            first[family] = min(date, first.get(family, date))
    size = Counter(families)
    by_date: Counter[str] = Counter()
    for family, date in first.items():
        by_date[date] += size[family]
    days, undated = sorted(by_date), len(families) - sum(by_date.values())
    before = undated + starts_of(np.array([by_date[date] for date in days], np.int64))
    split_of_date = dict(zip(days, _splits_of_days(before.tolist(), config), strict=True))
    found = [split_of_date[first[family]] if family in first else SPLITS[0] for family in families]
    if missing := [split for split in SPLITS[1:] if split not in found]:
        raise UserError(
            f"splits.by=date leaves {' and '.join(missing)} without a patent: {len(first):,} of {len(size):,} families "
            f"have a publication_date, of {len(by_date):,} different days; set splits.by=hash, or name the field with "
            "data.fields.publication_date"
        )
    return found


def _splits_of_days(before: Sequence[int], config: SplitsConfig) -> list[str]:
    """The split of each day. ``before``: the patents before each of them, and, as the last one, all."""
    *days, patents = before
    limits = _limits(config)

    def begin(share: float, split: str, last: int) -> int:
        """The first day of ``split``, which ends before the day ``last``."""
        by_share = bisect_left(days, share * patents)
        if split not in limits or by_share >= last:
            return by_share
        return max(by_share, min(bisect_left(days, before[last] - limits[split]), last - 1))

    test = begin(config.train + config.val, "test", len(days))
    val = min(begin(config.train, "val", test), test)
    return ["train"] * val + ["val"] * (test - val) + ["test"] * (len(days) - test)


class Split(NamedTuple):
    """A corpus that is split.

    Attributes:
        table: ``publication_number, family, split``, rows as in the corpus.
        unbelieved: family ids that name no family.
        above: patents of the shares of val and of test that are trained on, because there were more than their limit.
    """

    table: pa.Table
    unbelieved: int
    above: dict[str, int]


def split_table(
    corpus: pa.Table, config: SplitsConfig, seed: int, abstracts: Iterable[pa.ChunkedArray] | None = None
) -> Split:
    """Families, and the split that each belongs to.

    Args:
        corpus: ``publication_number, abstract, family_id, publication_date``; the date is read for ``splits.by=date``.
        abstracts: those of ``corpus`` in parts, of which one is held at a time; None: it has them.
    """
    numbers, told = (_whole(corpus[name]) for name in ("publication_number", "family_id"))
    parts = (chunk for part in abstracts or [corpus["abstract"]] for chunk in part.chunks)
    texts = pa.concat_arrays([_each(chunk, abstract_key) for chunk in parts] or [numbers[:0]])
    by_id, unbelieved = family_keys(numbers, told)
    families = assign_families(numbers, texts, by_id)
    if config.by == "date":
        names, dates = families.to_pylist(), corpus["publication_date"].to_pylist()
        whole = pa.array(split_by_date(names, dates, config.model_copy(update={"max_val": None, "max_test": None})))
        splits = pa.array(split_by_date(names, dates, config))
    else:
        whole = assign_splits(families, config, seed)
        splits = limit_splits(families, whole, config, seed)
    before, after = (_counts(each) for each in (whole, splits))
    above = {split: before[split] - after[split] for split in SPLITS[1:] if before[split] > after[split]}
    return Split(pa.table([numbers, families, splits], schema=SPLIT_TABLE), unbelieved, above)


def _counts(splits: pa.Array) -> dict[str, int]:
    return {split: pc.sum(pc.equal(splits, split)).as_py() or 0 for split in SPLITS}


def _whole(column: pa.ChunkedArray) -> pa.Array:
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else pa.concat_arrays(found.chunks or [pa.array([], column.type)])
