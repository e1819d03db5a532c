"""Texts to token stores: workers read the texts where they lie and write their ids. The driver knows which texts they
are, and how many tokens each has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patent_embed.arrays import Rows
from patent_embed.artifacts import Artifact, ModelRef, open_artifact
from patent_embed.config.model import Kind, ModelConfig
from patent_embed.data.views import view_columns, viewed
from pipelines.embedders import load_encoder, through_actors
from pipelines.engine import Context
from pipelines.vector_files import writing

if TYPE_CHECKING:
    from patent_embed.encoder.encoder import Encoder
    from patent_embed.encoder.packing import Tokens

_AT_ONCE = 8192  # texts of a block
_HERE = 100_000  # texts that this process reads itself, a block at a time: to start an actor takes as long
# A block: which texts of a row group, of what kind, and the store and the piece of it that their ids are.
_BLOCK = pa.schema(
    {
        "store": pa.string(),
        "piece": pa.int64(),
        "kind": pa.string(),
        "artifact": pa.string(),
        "table": pa.string(),
        "part": pa.int32(),
        "group": pa.int32(),
        "rows": pa.large_list(pa.int32()),
    }
)


@dataclass(frozen=True)
class TextRows:
    """Texts of a ``table`` of an artifact, those of its ``rows``, ascending: of the kind ``query`` its column of that
    name, of the kind ``passage`` what is searched of each patent."""

    artifact: Artifact
    table: str
    kind: Kind
    rows: Rows


class TokenizeRows:
    """Ray Data UDF: a block to the ids of its texts, in a file.

    Args:
        target: the folder of the files, which all workers reach; None: there is none, and the ids are given back.
        encoder: whose tokenizer it is; None: it is loaded.
    """

    def __init__(
        self,
        target: str | None,
        model: ModelRef,
        config: ModelConfig,
        gpu: bool = False,
        threads: int = 1,
        encoder: Encoder | None = None,
    ) -> None:
        self._target, self._config = None if target is None else Path(target), config
        self._encoder = encoder or load_encoder(model, config, gpu, threads)
        self._group: tuple[tuple[str, str, int, int], pa.ChunkedArray] | None = None  # the last one that was read

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """Tokenize a block. Gives back its ``store`` and ``piece``, the ``lengths`` of its texts as bytes, and their
        ``ids`` as bytes where they are not written here."""
        from patent_embed.training.token_file import write_piece

        store, piece = str(batch["store"][0]), int(batch["piece"][0])
        texts = self._texts(batch).take(pa.array(batch["rows"][0]))
        found = self._encoder.tokenize(texts.to_pylist(), batch["kind"][0])
        content = b""
        if self._target is None:
            content = found.ids.tobytes()
        else:
            path = self._target / _file(store, piece)
            with writing(path):
                write_piece(path, found.ids)
        lengths = found.lengths.astype(np.int32).tobytes()
        return {"store": np.array([store]), "piece": np.array([piece]), "lengths": [lengths], "ids": [content]}

    def _texts(self, batch: dict[str, np.ndarray]) -> pa.ChunkedArray:
        """Those of a row group, which is read once where its blocks come one after the other."""
        place = str(batch["artifact"][0]), str(batch["table"][0]), int(batch["part"][0]), int(batch["group"][0])
        if self._group is None or self._group[0] != place:
            self._group = place, self._read(*place, batch["kind"][0])
        return self._group[1]

    def _read(self, artifact: str, table: str, part: int, group: int, kind: Kind) -> pa.ChunkedArray:
        file = pq.ParquetFile(open_artifact(artifact).parts(table)[part])
        if kind == "query":
            return file.read_row_group(group, columns=["query"])["query"]
        return viewed(file.read_row_group(group, columns=view_columns(self._config)), self._config)["abstract"]


def write_tokens(
    context: Context, config: ModelConfig, encoder: Encoder, stores: Mapping[str, Sequence[TextRows]], folder: Path
) -> dict[str, Tokens]:
    """Write the token stores, ``STORE-ids.npy`` and ``STORE-offsets.npy`` in ``folder``, which must be on the disk of
    ``context.folder``; they are returned, mapped.

    Args:
        encoder: of ``context.model()``.
        stores: the texts of each, one after the other.

    Raises:
        RuntimeError: a piece is missing.
    """
    from patent_embed.training.token_file import join_pieces, write_piece

    blocks = [block for store, texts in stores.items() for block in _blocks(store, texts)]
    lengths: dict[str, dict[int, np.ndarray]] = {store: {} for store in stores}
    folder.mkdir(exist_ok=True)
    with TemporaryDirectory(dir=context.folder, prefix=".pieces-") as name:
        pieces = Path(name)
        for block in _tokenized(context, config, encoder, blocks, pieces):
            store, piece = str(block["store"]), int(block["piece"])
            lengths[store][piece] = np.frombuffer(block["lengths"], np.int32)
            if block["ids"]:
                write_piece(pieces / _file(store, piece), np.frombuffer(block["ids"], np.int32))
        found = {}
        for store, texts in stores.items():
            mine = [lengths[store][piece] for piece in sorted(lengths[store])]
            wanted, done = sum(len(each.rows) for each in texts), sum(map(len, mine))
            if wanted != done:
                raise RuntimeError(f"{wanted} texts of {store} went in, {done} came out as tokens")
            files = [pieces / _file(store, piece) for piece in range(len(mine))]
            found[store] = join_pieces(files, np.concatenate([np.zeros(0, np.int32), *mine]), folder / store)
    return found


def _tokenized(
    context: Context, config: ModelConfig, encoder: Encoder, blocks: Sequence[pa.Table], pieces: Path
) -> Iterator[dict[str, Any]]:
    """What ``TokenizeRows`` gives for each of the blocks, in any order."""
    made: Iterable[dict[str, Any]]
    if sum(len(block["rows"][0]) for block in blocks) <= _HERE:
        here = TokenizeRows(str(pieces), ModelRef(""), config, encoder=encoder)
        made = (here({name: block[name].to_numpy() for name in block.column_names}) for block in blocks)
    else:
        target = None if context.place.everywhere else str(pieces)
        made = through_actors(TokenizeRows, (target,), blocks, context.model(), config, few=False, on_gpus=False)
    for batch in made:
        for row in range(len(batch["store"])):
            yield {name: column[row] for name, column in batch.items()}


def _blocks(store: str, texts: Sequence[TextRows]) -> Iterator[pa.Table]:
    """Of one store, in its order."""
    piece = 0
    for each in texts:
        for values in _groups(each):
            row = {"store": store, "piece": piece, "kind": each.kind, **values}
            yield pa.Table.from_pylist([row], schema=_BLOCK)
            piece += 1


def _groups(texts: TextRows) -> Iterator[dict[str, Any]]:
    """Which rows of which row groups, ``_AT_ONCE`` at a time."""
    parts, first = {path: number for number, path in enumerate(texts.artifact.parts(texts.table))}, 0
    for path, group, rows in texts.artifact.row_groups(texts.table):
        begin, end = np.searchsorted(texts.rows, [first, first + rows]).tolist()
        inside = (texts.rows[begin:end] - first).astype(np.int32)
        place = {"artifact": texts.artifact.address, "table": texts.table, "part": parts[path], "group": group}
        for at in range(0, len(inside), _AT_ONCE):
            yield place | {"rows": inside[at : at + _AT_ONCE]}
        first += rows


def _file(store: str, piece: int) -> str:
    return f"{store}-{piece:06d}"
