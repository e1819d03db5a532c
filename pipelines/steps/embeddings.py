"""A corpus of texts to files of embeddings, in pieces that are whole or absent, so that a killed run goes on."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from patent_embed.arrays import places_in
from patent_embed.artifacts import Artifact, ModelRef, Outcome, open_artifact
from patent_embed.config.model import Kind, ModelConfig
from patent_embed.config.settings import Config
from patent_embed.data.views import view_columns, viewed
from patent_embed.errors import UserError
from patent_embed.folders import Folder
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.events import TextsEmbedded
from patent_embed.progress.terminal import say
from pipelines.embedders import Embedder, actor_pool
from pipelines.engine import Context, LocalModel, Partial, StepSpec
from pipelines.known_vectors import Known, KnownPieces, find_known, joined, same_file, taken_notes
from pipelines.steps.embed import model_settings

NAME, VECTORS = "embeddings", "vectors"  # the step, and the folder in it
_TEXTS = b"texts"  # in the metadata of a file: how many texts its passages are of
_LOOKED_AT_ONCE = 16  # files that an earlier run made


def embeddings_step(config: Config, texts: StepSpec, model: LocalModel, kind: Kind) -> StepSpec:
    """The vectors of ``texts``, with the prompt of their ``kind`` put before them."""
    return StepSpec(
        name=NAME,
        version=2,
        settings=model_settings(config) | {"kind": kind},
        inputs={"texts": texts, "model": model},
        work=lambda context: _work(context, config, kind),
        partial=Partial(keep=True),
        notes=taken_notes,
        announced=True,
    )


@dataclass(frozen=True)
class Piece:
    """A row group of a part of the corpus, which becomes one file of the result."""

    part: str
    group: int
    rows: int

    @property
    def file(self) -> str:
        """Its name in the result."""
        return f"{self.part}-{self.group:04d}.parquet"


class EncodePieces(Embedder):
    """Ray Data UDF: pieces of the corpus (``part``, ``group``) to files of embeddings; gives back their ``rows``, and
    how many of them are ``taken`` from ``known``."""

    def __init__(
        self,
        corpus: str,
        target: Folder,
        kind: Kind,
        model: ModelRef,
        config: ModelConfig,
        known: Known | None,
        gpu: bool,
        threads: int,
    ) -> None:
        super().__init__(model, config, gpu, threads)
        self._known = None if known is None else KnownPieces(known, config)
        self._corpus, self._target, self._kind, self._config = open_artifact(corpus), target, kind, config
        self._several = kind == "passage" and config.passages_per_patent > 1

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Encode the pieces of a batch."""
        made = [self._encode(str(p), int(g)) for p, g in zip(batch["part"], batch["group"], strict=True)]
        return {"rows": [rows for rows, _ in made], "taken": [taken for _, taken in made]}

    def _encode(self, part: str, group: int) -> tuple[int, int]:
        file = pq.ParquetFile(self._corpus.file(f"corpus/{part}.parquet"))
        piece = Piece(part, group, int(file.metadata.row_group(group).num_rows))
        if is_finished(self._target, piece):  # Ray runs a piece again when its actor died before it could say so
            return piece.rows, 0
        read = ["publication_number", *view_columns(self._config)]
        texts = viewed(file.read_row_group(group, columns=read), self._config)
        names, columns = texts["publication_number"], dict[str, pa.Array]()
        passages: list[str] = texts["abstract"].to_pylist()
        if self._several:
            from patent_embed.encoder.passages import cut_into_passages

            cut = cut_into_passages(self._encoder, passages, self._config.passages_per_patent)
            passages, names = cut.texts, names.take(pa.array(cut.owner))
            columns["passage"] = pa.array(places_in(np.bincount(cut.owner)).astype(np.int32))
        known, old = np.zeros(len(passages), np.bool_), None
        if self._known is not None:
            ids = names.combine_chunks()
            known, old = self._known.of(ids, texts["abstract"].combine_chunks())
            if known.all() and (whole := self._known.whole_file(ids)):
                with self._target.new_file(piece.file) as path:
                    same_file(whole, path)
                return piece.rows, piece.rows
        fresh = [passages[row] for row in np.flatnonzero(~known)]
        vectors = joined(known, old, self.vectors(fresh, self._kind) if fresh else np.zeros((0, 0), np.float32))
        if not np.isfinite(vectors).all():
            raise RuntimeError(f"an embedding of {part}, row group {group}, holds NaN or infinity")
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        table = pa.table({"id": names, **columns, "embedding": column})
        # What is looked at where rows are passages: a torn file has no footer at all.
        table = table.replace_schema_metadata({_TEXTS: str(piece.rows)} if self._several else None)
        with self._target.new_file(piece.file) as path:
            pq.write_table(table, path, compression="none")  # the bits of embeddings do not compress
        return piece.rows, int(known.sum())


def _work(context: Context, config: Config, kind: Kind) -> Outcome:
    corpus, target = context.inputs["texts"], context.place / VECTORS
    total = corpus.manifest.rows["texts"]
    if not total:
        raise UserError(
            f"no text in {config.data.data_dir!r} can be embedded: {dict(corpus.manifest.rejects)}; "
            f"{corpus.address}/rejects.parquet says what was found"
        )
    pieces = _pieces(corpus)
    with ThreadPoolExecutor(_LOOKED_AT_ONCE) as pool:
        finished = list(pool.map(partial(is_finished, target), pieces))
    left = [piece for piece, done in zip(pieces, finished, strict=True) if not done]
    for name in {entry.name for entry in target.entries()} - {piece.file for piece in pieces}:
        target.delete(name)  # of nobody that is known: it must not be taken for a part of the result
    done = total - sum(piece.rows for piece in left)
    if done:
        say(f"      going on: {done:,} of {total:,} texts are embedded already")
    watch, encoded, taken = Stopwatch(), 0, 0
    several = kind == "passage" and config.model.passages_per_patent > 1
    known = find_known(context, "texts") if left and not several and config.run.use_cache else None
    for rows, old in _encode_pieces(left, corpus, target, kind, context, config.model, known):
        encoded, taken = encoded + rows, taken + old
        context.progress.emit(TextsEmbedded(done + encoded, total, watch.seconds))
    if done + encoded != total or {entry.name for entry in target.entries()} != {piece.file for piece in pieces}:
        raise RuntimeError(f"{total} texts went in, {done} + {encoded} embeddings came out")
    return Outcome(
        rows={NAME: total, "files": len(pieces)},
        rejects=corpus.manifest.rejects,
        report={"encoded_by_this_run": encoded - taken, "texts_per_s": round(encoded / watch.seconds, 1)}
        | ({"taken": {"vectors": taken, "of": known.name}} if known and taken else {}),
    )


def _encode_pieces(
    pieces: list[Piece],
    corpus: Artifact,
    target: Folder,
    kind: Kind,
    context: Context,
    config: ModelConfig,
    known: Known | None,
) -> Iterator[tuple[int, int]]:
    """Rows as they are written, and how many of them are taken from what is known."""
    if not pieces:
        return
    pool, gpu, threads = actor_pool()
    blocks = [pa.table({"part": [piece.part], "group": [piece.group]}) for piece in pieces]
    written = ray.data.from_arrow(blocks).map_batches(
        EncodePieces,
        fn_constructor_args=(corpus.address, target, kind, context.model(), config, known, gpu, threads),
        batch_size=1,
        **pool,
    )
    for batch in written.iter_batches(batch_size=None):
        yield int(batch["rows"].sum()), int(batch["taken"].sum())


def _pieces(corpus: Artifact) -> list[Piece]:
    return [Piece(path.stem, group, rows) for path, group, rows in corpus.row_groups("corpus") if rows]


def is_finished(target: Folder, piece: Piece) -> bool:
    """Whether the file of a piece is whole: its footer is there, and speaks of the piece's texts, a row each or, where
    they are cut into passages, as a number."""
    if not target.size(piece.file):
        return False
    try:
        with target.open(piece.file) as file:
            found = pq.read_metadata(file)
            told = (found.metadata or {}).get(_TEXTS)
            return int(told or found.num_rows) == piece.rows
    except (OSError, pa.ArrowException):  # torn: it is made anew
        return False
