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


def split_table(corpus: pa.Table, config: SplitsConfig, seed: int) -> tuple[pa.Table, int]:
    """``publication_number, family, split`` for each row of ``corpus``, in order; how many ids were not believed.

    Args:
        corpus: ``publication_number, abstract, family_id``.
    """
    numbers = corpus["publication_number"].to_pylist()
    texts = [abstract_key(text) for chunk in corpus["abstract"].chunks for text in chunk.to_pylist()]
    told, unbelieved = family_keys(numbers, corpus["family_id"].to_pylist())
    families = assign_families(numbers, texts, told)
    table = pa.table([numbers, families, assign_splits(families, config, seed)], schema=SPLIT_TABLE)
    return table, unbelieved
