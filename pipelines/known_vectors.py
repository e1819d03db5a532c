"""Vectors that are there: those that an earlier step made, by the same weights and prompts, of texts that are the same.

Both corpora are sorted by id, so the texts of a block are looked for in the few row groups whose ids lie in its range:
nothing is held of the rest, however large the corpus is. A text counts under its id: under another one it is new.
"""

from __future__ import annotations

import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from typing_extensions import override

from patent_embed.arrays import Vectors, matrix_of
from patent_embed.artifacts import Artifact, open_artifact
from patent_embed.config.model import ModelConfig
from patent_embed.data.views import view_columns, viewed
from pipelines.engine import Context

ID = "publication_number"
_MODEL = "model"


@dataclass(frozen=True)
class Known:
    """Where they are, as plain data: the addresses of the artifacts with the texts and with their vectors."""

    corpus: str
    vectors: str
    name: str


def find_known(context: Context, corpus: str) -> Known | None:
    """What the step may take vectors from: the last that was finished of its kind, with its version, settings and
    model, whose own corpus is still there. ``corpus``: the step's input that has the texts."""
    spec, store = context.spec, context.output.store
    settings, model = json.loads(json.dumps(dict(spec.settings))), spec.inputs[_MODEL].digest
    kind = spec.name.partition("-")[0]
    corpora = {each.digest: each for each in store.finished(context.inputs[corpus].manifest.step)}
    for found in store.finished(kind):
        manifest = found.manifest
        same = (manifest.code_version, manifest.settings, manifest.inputs[_MODEL]) == (spec.version, settings, model)
        source = corpora.get(manifest.inputs[corpus])
        if same and source is not None:
            return Known(source.address, found.address, found.place.name)
    return None


class _Group(NamedTuple):
    """A row group of the corpus: its part, its number there, the row of the corpus that it begins with, how many it
    has, and its first and last id."""

    part: str
    number: int
    first: int
    rows: int
    low: str
    high: str


class KnownVectors(ABC):
    """Opens what ``Known`` names, in a worker. Subclasses know in which files the vectors are."""

    def __init__(self, known: Known, config: ModelConfig) -> None:
        self._config = config
        self._corpus, self._vectors = open_artifact(known.corpus), open_artifact(known.vectors)
        self._groups = _groups_of(self._corpus)
        self._last: tuple[_Group, pa.Table] | None = None

    def of(self, ids: pa.Array, texts: pa.Array) -> tuple[NDArray[np.bool_], Vectors | None]:
        """Which of the texts are known, (n,), and their vectors, (known, dim), None without any.

        Args:
            ids: ascending, each once; ``texts`` are their texts.
        """
        known, parts = np.zeros(len(ids), np.bool_), list[Vectors]()
        if len(ids):
            low, high = ids[0].as_py(), ids[-1].as_py()
            for group in self._groups:
                if group.low <= high and low <= group.high:
                    rows, places = self._same(group, ids, texts)
                    if len(rows):
                        known[places] = True
                        parts.append(self.vectors_of(group)[rows])
        return known, np.concatenate(parts) if parts else None

    def _same(self, group: _Group, ids: pa.Array, texts: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows of the group and places in ``ids``, both ascending, of texts that are the same."""
        table = self._read(group)
        row = pc.index_in(ids, value_set=table[ID].combine_chunks())
        same = pc.fill_null(pc.equal(table["abstract"].take(row).combine_chunks(), texts), False)
        places = np.flatnonzero(same.to_numpy(zero_copy_only=False))
        return row.take(pa.array(places)).to_numpy().astype(np.int64), places

    def _read(self, group: _Group) -> pa.Table:
        """Ids and texts of a group, which is read once where blocks come one after the other."""
        last = self._last
        if last is None or last[0] != group:
            file = pq.ParquetFile(self._corpus.file(f"corpus/{group.part}"))
            table = viewed(file.read_row_group(group.number, columns=[ID, *view_columns(self._config)]), self._config)
            self._last = last = group, table
        return last[1]

    @abstractmethod
    def vectors_of(self, group: _Group) -> Vectors:
        """(rows, dim) the vectors of a group; may be memory-mapped."""


class KnownMatrix(KnownVectors):
    """Vectors in one file, ``passages.npy``."""

    def __init__(self, known: Known, config: ModelConfig) -> None:
        super().__init__(known, config)
        self._matrix: Vectors = np.load(self._vectors.file("passages.npy"), mmap_mode="r")

    @override
    def vectors_of(self, group: _Group) -> Vectors:
        return self._matrix[group.first : group.first + group.rows]


class KnownPieces(KnownVectors):
    """Vectors in files of row groups, ``vectors/PART-GROUP.parquet``."""

    @override
    def vectors_of(self, group: _Group) -> Vectors:
        column = pq.read_table(self._file(group), columns=["embedding"], memory_map=True)["embedding"].combine_chunks()
        return matrix_of(column)

    def whole_file(self, ids: pa.Array) -> Path | None:
        """The file that has the vectors of just these ids, all of which are known."""
        ends = len(ids), ids[0].as_py(), ids[-1].as_py()
        return next((self._file(each) for each in self._groups if (each.rows, each.low, each.high) == ends), None)

    def _file(self, group: _Group) -> Path:
        return self._vectors.file(f"vectors/{group.part.removesuffix('.parquet')}-{group.number:04d}.parquet")


def same_file(source: Path, target: Path) -> None:
    """Make ``target`` the file that ``source`` is: on one disk its bytes are there once."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def joined(known: NDArray[np.bool_], old: Vectors | None, new: Vectors) -> Vectors:
    """(n, dim): the vectors that were ``known`` (n,), and the others, each in their order."""
    if old is None:
        return new
    vectors = np.empty((len(known), old.shape[1]), np.float32)
    vectors[known] = old
    if len(new):
        vectors[~known] = new
    return vectors


def taken_notes(artifact: Artifact) -> list[str]:
    """What a step says of vectors that it took."""
    taken: Mapping[str, Any] | None = artifact.report.get("taken")
    if not taken:
        return []
    return [f"{taken['vectors']:,} vectors are those of {taken['of']}: their texts are the same"]


def _groups_of(corpus: Artifact) -> list[_Group]:
    groups, first = list[_Group](), 0
    for path in corpus.parts("corpus"):
        metadata = pq.read_metadata(path)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            if group.num_rows:
                columns = (group.column(column) for column in range(group.num_columns))
                bounds = next(column.statistics for column in columns if column.path_in_schema == ID)
                groups.append(_Group(path.name, number, first, group.num_rows, bounds.min, bounds.max))
            first += group.num_rows
    return groups
