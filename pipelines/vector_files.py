"""Texts to files of vectors: workers read the texts of a corpus where it lies, and write the rows of their own. The
driver knows how many there are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.artifacts import Artifact, open_artifact
from patent_embed.config.model import ModelConfig
from patent_embed.data.views import view_columns, viewed
from patent_embed.errors import UserError
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.events import TextsEmbedded
from patent_embed.vector_file import finish, write_rows
from pipelines.embedders import Embedder, few_texts, rows_of_block, through_actors
from pipelines.engine import Context
from pipelines.known_vectors import ID, Known, KnownMatrix, joined

# A block of texts, in one row: the file of their vectors and their first row there, and either the texts, each with
# its kind, or where in a corpus they are: a part, a row group, their first row in it, and how many there are.
_BLOCK = pa.schema(
    {
        "file": pa.string(),
        "first": pa.int64(),
        "texts": pa.large_list(pa.string()),
        "kinds": pa.large_list(pa.string()),
        "part": pa.string(),
        "group": pa.int32(),
        "begin": pa.int32(),
        "count": pa.int32(),
    }
)


class WriteVectors(Embedder):
    """Ray Data UDF: a block of texts to the rows of a file of vectors.

    Args:
        corpus: the address of an artifact, of whose ``corpus`` blocks may be.
        known: where vectors of its texts may be already.
        target: the folder of the files, which all workers reach; None: there is none, and the vectors are given back.
    """

    def __init__(self, corpus: str | None, known: Known | None, target: str | None, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._config: ModelConfig = arguments[1]
        self._corpus = None if corpus is None else open_artifact(corpus)
        self._target = None if target is None else Path(target)
        self._known = None if known is None else KnownMatrix(known, self._config)
        self._group: tuple[tuple[str, int], pa.Table] | None = None  # the last one that was read

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Embed a block. Gives back what ``_BLOCK`` names by ``file`` and ``first``; ``rows``, of which so many are
        ``taken`` from what is known; ``dim``; whether all is ``finite``; the ``vectors`` as bytes where they are not
        written here."""
        file, first = str(batch["file"][0]), int(batch["first"][0])
        vectors, taken = self._embedded(batch)
        content = b""
        if self._target is None:
            content = vectors.tobytes()
        else:
            _write(self._target / f"{file}.npy", first, vectors)
        return {
            "file": np.array([file]),
            "first": np.array([first]),
            "rows": np.array([len(vectors)]),
            "taken": np.array([taken]),
            "dim": np.array([vectors.shape[1]]),
            "finite": np.array([bool(np.isfinite(vectors).all())]),
            "vectors": [content],
        }

    def _embedded(self, batch: dict[str, np.ndarray]) -> tuple[np.ndarray, int]:
        """The vectors of a block, and how many of them were known."""
        if batch["part"][0] is not None:
            place = str(batch["part"][0]), int(batch["group"][0])
            return self._of_corpus(self._patents(place).slice(int(batch["begin"][0]), int(batch["count"][0])))
        texts, kinds = np.asarray(batch["texts"][0], object), np.asarray(batch["kinds"][0], object)
        vectors = np.empty((len(texts), self._encoder.dim), np.float32)
        for kind in sorted(set(kinds)):
            vectors[kinds == kind] = self.vectors(texts[kinds == kind].tolist(), kind)
        return vectors, 0

    def _of_corpus(self, patents: pa.Table) -> tuple[np.ndarray, int]:
        texts = patents["abstract"].combine_chunks()
        if self._known is None:
            return self.vectors(texts.to_pylist(), "passage"), 0
        known, old = self._known.of(patents[ID].combine_chunks(), texts)
        fresh = texts.filter(pa.array(~known)).to_pylist()
        new = self.vectors(fresh, "passage") if fresh else np.zeros((0, self._encoder.dim), np.float32)
        return joined(known, old, new), int(known.sum())

    def _patents(self, place: tuple[str, int]) -> pa.Table:
        """Ids and texts of a row group, which is read once where its blocks come one after the other."""
        found = self._group
        if found is None or found[0] != place:
            assert self._corpus is not None
            file = pq.ParquetFile(self._corpus.file(f"corpus/{place[0]}"))
            group = file.read_row_group(place[1], columns=[ID, *view_columns(self._config)])
            self._group = found = place, viewed(group, self._config)
        return found[1]


@dataclass(frozen=True)
class CorpusPassages:
    """The passages of a corpus, an artifact, and where vectors of the same texts may be already: ``passages.npy``."""

    corpus: Artifact
    known: Known | None = None


class VectorFiles:
    """The files of vectors of one step.

    Args:
        context: of the step, whose folder they go into.
        config: of the model ``context.model()``.
    """

    def __init__(self, context: Context, config: ModelConfig) -> None:
        self._context, self._config = context, config
        self._passages: CorpusPassages | None = None
        self._taken = 0
        self._given: dict[str, tuple[pa.ChunkedArray, list[str] | str]] = {}
        self._counts: dict[str, int] = {}

    def add(self, file: str, texts: pa.ChunkedArray, kinds: list[str] | str) -> None:
        """``file``.npy: a row a text, of the kind that is named, or of one each."""
        self._given[file], self._counts[file] = (texts, kinds), len(texts)

    def add_corpus(self, file: str, passages: CorpusPassages) -> None:
        """``file``.npy: a row for each patent of one corpus."""
        self._passages, self._counts[file] = passages, sum(rows for _, _, rows in passages.corpus.row_groups("corpus"))

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of each file."""
        return self._counts

    def taken(self) -> dict[str, Any]:
        """What a report says of vectors that were there: how many were taken, and of what; empty without any."""
        known = self._passages.known if self._passages else None
        return {"taken": {"vectors": self._taken, "of": known.name}} if known and self._taken else {}

    def write(self) -> int:
        """Write them all; their vectors' dimension is returned.

        Raises:
            RuntimeError: a row is missing, or holds NaN or infinity.
        """
        total = sum(self._counts.values())
        here, folder = not self._context.place.everywhere, self._context.folder
        few = few_texts(total)
        corpus, known = (self._passages.corpus.address, self._passages.known) if self._passages else (None, None)
        arguments = corpus, known, str(folder) if here else None
        blocks = list(self._blocks(rows_of_block(few)))
        made = through_actors(WriteVectors, arguments, blocks, self._context.model(), self._config, few=few)
        left, watch, done, first, dim = dict(self._counts), Stopwatch(), 0, 0, 0
        for batch in made:
            for block in _rows_of(batch):
                rows, dim = self._accepted(block)
                left[str(block["file"])] -= rows
                done += rows
            if not first:  # the rate is that of embedding, without the start of the actors
                watch, first = Stopwatch(), done
            elif watch.seconds > 0.5 or done == total:  # blocks come in pairs
                seconds = watch.seconds * done / (done - first)
                self._context.progress.emit(TextsEmbedded(done, total, seconds))
        if any(left.values()):
            raise RuntimeError(f"{total} texts went in, {done} embeddings came out; missing: {left}")
        for file, rows in self._counts.items():
            finish(folder / f"{file}.npy", rows, dim)
        return dim

    def _accepted(self, block: Mapping[str, Any]) -> tuple[int, int]:
        """Rows and dimension of a block that was embedded; its vectors are written where its worker could not."""
        file, begin, rows, dim = str(block["file"]), int(block["first"]), int(block["rows"]), int(block["dim"])
        self._taken += int(block["taken"])
        if not block["finite"]:
            raise RuntimeError(f"an embedding of {file} in the {rows} rows from {begin} on holds NaN or infinity")
        if block["vectors"]:
            vectors = np.frombuffer(block["vectors"], np.float32).reshape(rows, dim)
            _write(self._context.folder / f"{file}.npy", begin, vectors)
        return rows, dim

    def _blocks(self, size: int) -> Iterator[pa.Table]:
        for file in self._counts:
            if file in self._given:
                yield from _given_blocks(file, *self._given[file], size)
            elif self._passages is not None:
                yield from _corpus_blocks(file, self._passages.corpus, size)


def _write(path: Path, first: int, vectors: np.ndarray) -> None:
    with writing(path):
        write_rows(path, first, vectors)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A file is written by a worker, whose errors would come as Ray's. Raises UserError where the disk refuses."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{str(path)!r} cannot be written: {error.strerror}; free space, then the same command goes on, or name "
            "another --output_dir"
        ) from None


def _given_blocks(file: str, texts: pa.ChunkedArray, kinds: list[str] | str, size: int) -> Iterator[pa.Table]:
    for first in range(0, len(texts), size):
        some = texts.slice(first, size).combine_chunks()
        each = [kinds] * len(some) if isinstance(kinds, str) else kinds[first : first + size]
        yield _block(file=file, first=first, texts=some.to_pylist(), kinds=each)


def _corpus_blocks(file: str, corpus: Artifact, size: int) -> Iterator[pa.Table]:
    first = 0
    for path, group, rows in corpus.row_groups("corpus"):
        for begin in range(0, rows, size):
            count = min(size, rows - begin)
            yield _block(file=file, first=first + begin, part=path.name, group=group, begin=begin, count=count)
        first += rows


def _block(**values: Any) -> pa.Table:
    return pa.Table.from_pylist([values], schema=_BLOCK)


def _rows_of(batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in range(len(batch["file"])):
        yield {name: column[row] for name, column in batch.items()}
