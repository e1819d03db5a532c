"""Families and splits: which patents are one document, and which part of the data each belongs to."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from patent_embed.config.splits import SplitsConfig
from patent_embed.data.schemas import SPLIT_TABLE
from patent_embed.errors import UserError
from patent_embed.hashing import hash64, text_key

SPLITS = ("train", "val", "test")
# What more patents share than this, or than a quarter of them, names no family: a column that is the same for all.
LARGEST_FAMILY, SMALLEST_BOUND = 500, 20

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


def family_keys(publication_numbers: Sequence[str], family_ids: Sequence[str | None]) -> tuple[list[str], int]:
    """The key that the members of a family share by their source's id (patents,), and how many ids were not believed.

    A patent without an id has a key of its own; so has one whose id too many share.
    """
    sizes = Counter(family_ids)
    most = min(LARGEST_FAMILY, max(SMALLEST_BOUND, len(publication_numbers) // 4))
    wrong = {name for name, size in sizes.items() if name is not None and size > most}
    keys = [
        f"number {number}" if family is None or family in wrong else f"family {family}"
        for number, family in zip(publication_numbers, family_ids, strict=True)
    ]
    return keys, len(wrong)


def assign_families(publication_numbers: Sequence[str], *keys: Sequence[str]) -> list[str]:
    """The family of each patent, named by its smallest publication number.

    Patents are one family when they share an application key or one of ``keys``, such as that of their abstract,
    directly or through others. Each of ``keys`` has one value a patent.
    """
    n = len(publication_numbers)
    columns = [*keys, [application_key(number) for number in publication_numbers]]
    offset, rows, cols = n, [], []
    for column in columns:  # patents on one side, keys on the other: components of this graph are the families
        _, inverse = np.unique(np.asarray(column, dtype=object), return_inverse=True)
        rows.append(np.arange(n))
        cols.append(inverse + offset)
        offset += int(inverse.max(initial=-1)) + 1
    row, col = np.concatenate(rows), np.concatenate(cols)
    graph = coo_matrix((np.ones(len(row), dtype=np.int8), (row, col)), shape=(offset, offset))
    _, component = connected_components(graph, directed=False)
    name: dict[int, str] = {}
    for label, number in zip(component[:n].tolist(), publication_numbers, strict=True):
        if label not in name or number < name[label]:
            name[label] = number
    return [name[label] for label in component[:n].tolist()]


def assign_splits(families: Sequence[str], config: SplitsConfig, seed: int) -> list[str]:
    """The split of each patent, from a hash of its family and the seed alone.

    So a new patent moves no other, with one exception that no rule without memory avoids: when a newcomer joins an
    old family and has its smallest publication number, or links two families, that family is drawn again.
    """
    bounds = (config.train, config.train + config.val)

    def split(family: str) -> str:
        position = hash64(family, seed, "split") / 2**64
        return SPLITS[sum(position >= bound for bound in bounds)]

    drawn = {family: split(family) for family in set(families)}
    return [drawn[family] for family in families]


def split_by_date(families: Sequence[str], dates: Sequence[str | None], config: SplitsConfig) -> list[str]:
    """The split of each patent: the past is trained on, what was published later is validated and tested on.

    A family has the date of its first publication, since its texts were known from then on. Families of one date stay
    together, in the earlier split, so shares are met as nearly as dates allow. A family without a date is trained on:
    nobody can say that it came later.

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
    bounds = [config.train * len(families), (config.train + config.val) * len(families)]
    split_of_date, before = dict[str, str](), len(families) - sum(by_date.values())
    for date in sorted(by_date):
        split_of_date[date] = SPLITS[sum(before >= bound for bound in bounds)]
        before += by_date[date]
    found = [split_of_date[first[family]] if family in first else SPLITS[0] for family in families]
    if missing := [split for split in SPLITS[1:] if split not in found]:
        raise UserError(
            f"splits.by=date leaves {' and '.join(missing)} without a patent: {len(first):,} of {len(size):,} families "
            f"have a publication_date, of {len(by_date):,} different days; set splits.by=hash, or name the field with "
            "data.fields.publication_date"
        )
    return found


def split_table(corpus: pa.Table, config: SplitsConfig, seed: int) -> tuple[pa.Table, int]:
    """``publication_number, family, split`` for each row of ``corpus``, in order; how many ids were not believed.

    Args:
        corpus: ``publication_number, abstract, family_id, publication_date``; the date is read for ``splits.by=date``.
    """
    numbers = corpus["publication_number"].to_pylist()
    texts = [abstract_key(text) for chunk in corpus["abstract"].chunks for text in chunk.to_pylist()]
    told, unbelieved = family_keys(numbers, corpus["family_id"].to_pylist())
    families = assign_families(numbers, texts, told)
    if config.by == "date":
        splits = split_by_date(families, corpus["publication_date"].to_pylist(), config)
    else:
        splits = assign_splits(families, config, seed)
    table = pa.table([numbers, families, splits], schema=SPLIT_TABLE)
    return table, unbelieved
