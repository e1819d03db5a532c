"""Which files of a folder hold patents: by their suffixes, whatever their case, and .txt by what is in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from patent_embed.data.listing import files_below
from patent_embed.folders import folder_at

QUERY_CACHE_NAME = "llm_queries_cache.json"
# Each also with .gz. A format tells by content what a file is; these only say which files are worth a look.
SUFFIXES = (
    *(".json", ".jsonl", ".ndjson", ".jsonlines", ".csv", ".tsv", ".tab", ".xlsx", ".xlsm", ".xls", ".xlsb", ".ods"),
    *(".parquet", ".pq", ".xml", ".zip"),
)
TEXT_SUFFIX = ".txt"  # notes and licences are .txt, too
_LOOKING_AT_ONCE = 16


def bare(name: str) -> str:
    """A name in lower case, without ``.gz``."""
    return name.lower().removesuffix(".gz")


def is_hidden(name: str) -> bool:
    """Whether a file lies where no patents are looked for: hidden, or in a ``processed`` folder; or a query cache.

    The ``processed`` folder is where query caches usually lie; caches are read elsewhere.
    """
    path = PurePosixPath(name)
    return (
        path.name == QUERY_CACHE_NAME
        or "processed" in path.parts[:-1]
        or any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    )


def select_files(names: Iterable[str]) -> set[str]:
    """Those of the names below a data root that are patent files by their suffix."""
    return {name for name in names if bare(name).endswith(SUFFIXES) and not is_hidden(name)}


def select_texts(names: Iterable[str], opened: Callable[[str], BinaryIO]) -> set[str]:
    """Those of the ``.txt`` files whose beginning a format knows; ``opened`` opens one by its name."""
    from patent_embed.data.reading import knows  # it reads archives, whose members are selected here

    texts = [name for name in names if bare(name).endswith(TEXT_SUFFIX) and not is_hidden(name)]
    with ThreadPoolExecutor(_LOOKING_AT_ONCE) as pool:
        known = pool.map(lambda name: knows(name, lambda: opened(name)), texts)
        return {name for name, each in zip(texts, known, strict=True) if each}


def list_files(root: Path) -> tuple[list[Path], int]:
    """Patent files below ``root`` (or ``root`` itself), sorted, and the number of other files that were passed over.

    Passed over: other suffixes, hidden files, and the ``processed`` folder; a query cache is neither used here nor
    counted.
    """
    if root.is_file():
        return ([root], 0) if bare(root.name).endswith((*SUFFIXES, TEXT_SUFFIX)) else ([], 1)
    entries = files_below(folder_at(root)).entries
    names = [entry.name for entry in entries if PurePosixPath(entry.name).name != QUERY_CACHE_NAME]
    found = select_files(names) | select_texts(names, lambda name: (root / name).open("rb"))
    return sorted(root / name for name in found), len(names) - len(found)
