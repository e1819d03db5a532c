"""A corpus to embeddings on Ray Data, in pieces that are whole or absent, so that a killed run goes on."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from patent_embed.artifacts import Artifact, Outcome, Step, open_artifact
from patent_embed.config.model import Kind, ModelConfig
from patent_embed.data.records import PatentTextParser, RecordParser, TextParser
from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from patent_embed.folders import Entry, RemoteFolder, scratch
from patent_embed.hashing import folder_digest
from patent_embed.progress.clock import Stopwatch, duration
from patent_embed.progress.events import PiecesRead, TextsEmbedded
from patent_embed.progress.terminal import say
from pipelines.pipeline import Pipeline, Plan, Stage
from pipelines.steps import ingest
from pipelines.steps.embed import Embedder, actor_pool

_EMBEDDINGS, _VECTORS = "embeddings", "vectors"  # the step, and the folder in it


class EncodePieces(Embedder):
    """Ray Data UDF: pieces of the corpus (``part``, ``group``) to files of embeddings; gives back their ``rows``."""

    def __init__(
        self,
        corpus: str,
        target: Path | RemoteFolder,
        kind: Kind,
        model: tuple[str, str],
        config: ModelConfig,
        gpu: bool,
        threads: int,
    ) -> None:
        super().__init__(model, config, gpu, threads)
        self._corpus, self._target, self._kind = open_artifact(corpus), target, kind

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        return {"rows": [self._encode(str(p), int(g)) for p, g in zip(batch["part"], batch["group"], strict=True)]}

    def _encode(self, part: str, group: int) -> int:
        file, name = pq.ParquetFile(self._corpus.file(f"corpus/{part}.parquet")), _piece(part, group)
        if name in _finished(self._target):  # Ray runs a piece again when its actor died before it could say so
            return int(file.metadata.row_group(group).num_rows)
        texts = file.read_row_group(group, columns=["publication_number", "abstract"])
        vectors = self.vectors(texts["abstract"].to_pylist(), self._kind)
        if not np.isfinite(vectors).all():
            raise RuntimeError(f"an embedding of {part}, row group {group}, holds NaN or infinity")
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
        table = pa.table({"id": texts["publication_number"], "embedding": column})
        folder = scratch(f"encode-{os.getpid()}") if isinstance(self._target, RemoteFolder) else self._target
        folder.mkdir(parents=True, exist_ok=True)
        fresh = folder / f".{name}.{os.getpid()}.tmp"
        pq.write_table(table, fresh, compression="none")  # the bits of embeddings do not compress
        if isinstance(self._target, RemoteFolder):
            self._target.put(fresh, name)  # a store shows a file when all of it is there
            fresh.unlink()
        else:
            os.replace(fresh, folder / name)
        return len(table)


@dataclass
class Encoding(Pipeline):
    """The texts of ``data.data_dir``, embedded by ``model.name``.

    Attributes:
        text_column: of Parquet files or JSON objects; None: the folder holds patents, and their abstracts are taken.
        id_column: names the texts; None: their places in the files do.
        kind: whose prompt is put in front.
        rows_per_file: of the result; what a killed run loses is at most this much for each actor.
    """

    text_column: str | None = None
    id_column: str | None = None
    kind: Kind = "passage"
    rows_per_file: int = 4096

    def stages(self) -> list[Stage]:
        config = self.config
        root, files, self.passed_over = ingest.find_input(config.data.data_dir)
        bounds = (config.data.min_abstract_chars, config.data.max_abstract_chars)
        parser: RecordParser = PatentTextParser(*bounds)
        if self.text_column is not None:
            parser = TextParser(*bounds, self.text_column, self.id_column)
        base = resolve_model(config.model.name, trust_remote_code=config.model.trust_remote_code).resolve()
        plan, digest = Plan(), folder_digest(base)
        read = partial(self._read, root=root, files=files, parser=parser)
        settings: dict[str, Any] = {"text": self.text_column, "id": self.id_column, "rows_per_file": self.rows_per_file}
        settings |= config.data.model_dump(exclude={"data_dir"}) | {"seed": config.run.seed}
        plan.add("texts", read, settings, files=ingest.input_digest(files))
        settings = config.model.model_dump(exclude={"name"}) | {"kind": self.kind}
        encode = partial(self._encode, base=base, digest=digest)
        plan.add(_EMBEDDINGS, encode, settings, texts="texts", model=digest)
        return list(plan.stages.values())

    def _read(self, folder: Path, root: Path | RemoteFolder, files: list[Entry], parser: RecordParser) -> Outcome:
        config, rows = self.config, self.rows_per_file
        outcome = ingest.ingest(
            folder, root, files, config.data, config.run.seed,
            parser=parser, rows_per_group=rows, on_progress=lambda *read: self.progress.emit(PiecesRead(*read)),
        )  # fmt: skip
        outcome.rows["texts"] = outcome.rows.pop("patents")
        return outcome

    def _encode(self, folder: Path, base: Path, digest: str) -> Outcome:
        corpus, target = self._need("texts"), self.store.shared(folder) / _VECTORS
        total = corpus.manifest.rows["texts"]
        if not total:
            raise UserError(
                f"no text in {self.config.data.data_dir!r} can be embedded: {dict(corpus.manifest.rejects)}; "
                f"{corpus.address}/rejects.parquet says what was found"
            )
        pieces = _pieces(corpus)
        finished = _finished(target)
        left = {name: piece for name, piece in pieces.items() if name not in finished}
        rows = {name: rows for name, (_, _, rows) in pieces.items()}
        done = total - sum(rows[name] for name in left)
        if done:
            say(f"      going on: {done:,} of {total:,} texts are embedded already")
        watch, encoded = Stopwatch(), 0
        if left:
            pool, gpu, threads = actor_pool()
            model = self._shared_model(base, digest)
            blocks = [pa.table({"part": [part], "group": [group]}) for part, group, _ in left.values()]
            written = ray.data.from_arrow(blocks).map_batches(
                EncodePieces,
                fn_constructor_args=(corpus.address, target, self.kind, model, self.config.model, gpu, threads),
                batch_size=1,
                **pool,
            )
            for batch in written.iter_batches(batch_size=None):
                encoded += int(batch["rows"].sum())
                self.progress.emit(TextsEmbedded(done + encoded, total, watch.seconds))
        if isinstance(target, Path):  # what killed workers left
            for path in target.glob(".*.tmp"):
                path.unlink()
        if done + encoded != total or not set(pieces) <= _finished(target):
            raise RuntimeError(f"{total} texts went in, {done} + {encoded} embeddings came out")
        return Outcome(
            rows={_EMBEDDINGS: total, "files": len(pieces)},
            rejects=corpus.manifest.rejects,
            report={"encoded_by_this_run": encoded, "texts_per_s": round(encoded / watch.seconds, 1)},
        )

    def _resuming(self, step: Step) -> bool:
        return step.name == _EMBEDDINGS

    def _publish(self, started: float) -> None:
        found = self._need(_EMBEDDINGS)
        texts = self._need("texts").manifest
        rejected = sum(texts.rejects.values())
        sampled = f", {texts.rows['not_sampled']:,} not sampled" if texts.rows["not_sampled"] else ""
        say(
            f"{texts.rows['records']:,} records: {found.manifest.rows[_EMBEDDINGS]:,} embedded, "
            f"{rejected:,} rejected{sampled}"
        )
        say(f"done in {duration(time.time() - started)}")
        say(f"vectors {found.address}/{_VECTORS}")
        if self.remote is not None:
            shutil.rmtree(self.out)


def _pieces(corpus: Artifact) -> dict[str, tuple[str, int, int]]:
    """File of the result → part of the corpus, row group, rows."""
    found = {}
    for path in corpus.parts("corpus"):
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            rows = metadata.row_group(group).num_rows
            found[_piece(path.stem, group)] = (path.stem, group, rows)
    return {name: piece for name, piece in found.items() if piece[2]}


def _piece(part: str, group: int) -> str:
    return f"{part}-{group:04d}.parquet"


def _finished(target: Path | RemoteFolder) -> set[str]:
    if isinstance(target, RemoteFolder):
        return {entry.name for entry in target.entries()}
    return {path.name for path in target.glob("*.parquet")}
