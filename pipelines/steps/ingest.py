"""Ingest on Ray Data: a folder of patent files to a corpus sorted by id, and a table of rejects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from patent_embed.artifacts import Artifact, Outcome
from patent_embed.config.data import DataConfig
from patent_embed.config.settings import Config
from patent_embed.data.cleaning import LANGUAGE_CHARS, LEAST_HAN, MOST_KANA
from patent_embed.data.fields import FieldNames
from patent_embed.data.inputs import PatentFiles
from patent_embed.data.listing import Unseen
from patent_embed.data.parsers import parser_of, reading_settings
from patent_embed.data.pieces import Piece, pieces_of, read_piece
from patent_embed.data.records import Record, RecordParser, to_table
from patent_embed.data.schemas import RECORDS
from patent_embed.data.survey import advice, near_misses
from patent_embed.data.unread import UNREADABLE, changed, digests_of_unread
from patent_embed.errors import UserError
from patent_embed.folders import Folder
from patent_embed.hashing import hash64
from patent_embed.progress.clock import Stopwatch
from patent_embed.progress.events import PiecesRead
from pipelines.engine import Emit, StepSpec, ignore, rate

NAME = "ingest"
CORPUS_SCHEMA = pa.schema([RECORDS.field(i) for i in range(RECORDS.get_field_index("source") + 1)])
REJECT_SCHEMA = pa.schema([RECORDS.field(name) for name in ("source", "publication_number", "reason", "detail")])
_RECORDS_PER_TABLE, _CHARS_PER_TABLE = 20_000, 16 << 20
_ROWS_PER_PART = 200_000
_ROWS_PER_GROUP = 10_000  # of a part: what is in memory at once, with claims and descriptions
_FILES_PER_BLOCK = 1000
_BYTES_PER_BLOCK = 64 << 20
_SORT_IN_A_TASK_BYTES = 1 << 30
_NAMED = 3  # files in a message
_LOOKED_AT = 10_000  # rejects, for fields that were missed
_ORDER = ["publication_number", "source"]
# Column → what the report calls the counts of its values. Languages are of patents, the others of all records.
_COUNTED = {"language": "languages", "layout": "formats", "encoding": "encodings"}


class ParseFiles:
    """Ray Data UDF: a batch of file names to a stream of record tables, one row for every record or reject."""

    def __init__(self, root: Folder, parser: RecordParser) -> None:
        self._root = root
        self._parser = parser

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        """Read the files of a batch."""
        records, chars = list[Record](), 0
        for name, begin, end in zip(batch["name"], batch["begin"], batch["end"], strict=True):
            for record in self._parse(Piece(str(name), int(begin), int(end))):
                records.append(record)
                chars += len(record.abstract) + len(record.description or "") + sum(map(len, record.claims or ()))
                if len(records) >= _RECORDS_PER_TABLE or chars >= _CHARS_PER_TABLE:
                    yield to_table(records)
                    records, chars = [], 0
        yield to_table(records)

    def _parse(self, piece: Piece) -> Iterator[Record]:
        if not piece.end:
            yield from self._parser.parse_file(Path(piece.name), piece.name, self._root.opener(piece.name))
            return
        for raw in read_piece(piece, partial(self._root.open, piece.name)):
            yield from self._parser.parse_raw(raw)


def ingest(
    folder: Path,
    found: PatentFiles,
    config: DataConfig,
    seed: int,
    *,
    blocks: int | None = None,
    parser: RecordParser | None = None,
    rows_per_group: int = _ROWS_PER_GROUP,
    emit: Emit = ignore,
) -> Outcome:
    """Write ``corpus/*.parquet`` and ``rejects.parquet`` into ``folder``.

    ``blocks`` is how many pieces the file list is cut into; it does not change a byte of the result. ``parser``: None
    for that of patents to train on. ``rows_per_group``: of the Parquet files.
    """
    root, files = found.root, found.files
    parser = parser or parser_of(config)
    pieces = blocks or max(-(-len(files) // _FILES_PER_BLOCK), sum(file.size for file in files) // _BYTES_PER_BLOCK)
    cut = [piece for file in files for piece in pieces_of(file.name, file.size, partial(root.open, file.name))]
    pieces = min(len(cut), pieces)
    names = ray.data.from_items([piece._asdict() for piece in cut], override_num_blocks=pieces)
    parsed = _parse(names.map_batches(ParseFiles(root, parser), batch_size=None), pieces, emit)
    bound = _sample_bound(parsed, config.max_samples, seed)
    writer = _CorpusWriter(folder, bound, seed, rows_per_group, parser.duplicate_reason)
    for batch in _sorted_by_id(parsed):
        writer.add(batch.cast(RECORDS))
    outcome = writer.finish(records=parsed.count(), files=len(files), unseen=found.unseen)
    unread = ((each["source"], each["detail"]) for each in writer.unread())
    outcome.report["unread"] = digests_of_unread(root, unread, (file.name for file in files))
    return outcome


def look_again(artifact: Artifact, found: PatentFiles) -> str:
    """Why files are to be read again: one that could not be read is another now."""
    names = changed(found.root, artifact.report.get("unread", {}))
    return f"{len(names):,} files that could not be read have changed ({', '.join(names[:_NAMED])})" if names else ""


def _parse(records: ray.data.Dataset, pieces: int, emit: Emit) -> ray.data.Dataset:
    """``records.materialize()``, heard of while it runs. A piece that comes back in two blocks counts twice."""
    watch, blocks, rows = Stopwatch(), list[Any](), 0
    for bundle in records.iter_internal_ref_bundles():
        blocks += bundle.block_refs
        rows += bundle.num_rows() or 0
        emit(PiecesRead(min(len(blocks), pieces), pieces, rows, watch.seconds))
    return ray.data.from_arrow_refs(blocks)


def _sample_bound(parsed: ray.data.Dataset, max_samples: int | None, seed: int) -> int | None:
    """The largest id hash that is still in the sample: a seeded choice that does not depend on the order of files."""
    if max_samples is None:
        return None
    hashes = [np.zeros(0, np.uint64)]
    for batch in parsed.select_columns(["publication_number", "reason"]).iter_batches(batch_size=None):
        numbers = np.unique(batch["publication_number"][batch["reason"] == ""])
        hashes.append(np.array([hash64(number, seed, "sample") for number in numbers], np.uint64))
    found = np.unique(np.concatenate(hashes))
    return int(found[max_samples - 1]) if len(found) > max_samples else None


def _sorted_by_id(parsed: ray.data.Dataset) -> Iterator[pa.Table]:
    """All records in the order of ``_ORDER``, whatever blocks they came in; the driver maps them, and sorts none."""
    if parsed.size_bytes() > _SORT_IN_A_TASK_BYTES:
        yield from parsed.sort(_ORDER).iter_batches(batch_size=None, batch_format="pyarrow")
        return
    # Ray Data's sort costs seconds however little there is to sort.
    one_task: Any = ray.remote(num_returns="streaming")(_sorted)
    for table in one_task.remote(*parsed.to_arrow_refs()):
        yield ray.get(table)


def _sorted(*tables: pa.Table) -> Iterator[pa.Table]:
    """A task: the records of all ``tables`` in order, ``_RECORDS_PER_TABLE`` at a time."""
    table = pa.concat_tables(tables).sort_by([(key, "ascending") for key in _ORDER])
    for first in range(0, max(len(table), 1), _RECORDS_PER_TABLE):
        yield table.slice(first, _RECORDS_PER_TABLE)


class _CorpusWriter:
    """Takes records sorted by id; drops repeats and what is not sampled; writes parts of a fixed size."""

    def __init__(self, folder: Path, bound: int | None, seed: int, rows_per_group: int, duplicate: str) -> None:
        self.rejects: list[pa.Table] = []
        self._folder = folder / "corpus"
        self._folder.mkdir()
        self._bound, self._seed, self._rows_per_group, self._duplicate = bound, seed, rows_per_group, duplicate
        self._last: str | None = None
        self._pending: list[pa.Table] = []
        self._part: pq.ParquetWriter | None = None
        self._parts = self._in_part = 0
        self._counts: Counter[str] = Counter()
        self._of: dict[str, Counter[str]] = {column: Counter() for column in _COUNTED}

    def add(self, batch: pa.Table) -> None:
        usable = pc.equal(batch["reason"], "")
        for column in ("layout", "encoding"):
            self._count(column, batch)
        self.rejects.append(batch.filter(pc.invert(usable)).select(REJECT_SCHEMA.names))
        batch = batch.filter(usable)
        numbers = np.asarray(batch["publication_number"].to_pylist(), dtype=object)
        repeated = np.concatenate([[self._last], numbers[:-1]]) == numbers
        self._last = numbers[-1] if len(numbers) else self._last
        duplicates = batch.filter(pa.array(repeated)).select(REJECT_SCHEMA.names)
        reason = pa.array([self._duplicate] * len(duplicates), pa.string())
        self.rejects.append(duplicates.set_column(duplicates.schema.get_field_index("reason"), "reason", reason))
        keep = ~repeated
        if self._bound is not None:
            sampled = np.array([hash64(number, self._seed, "sample") <= self._bound for number in numbers], dtype=bool)
            self._counts["not_sampled"] += int((keep & ~sampled).sum())
            keep &= sampled
        kept = batch.filter(pa.array(keep))
        self._counts["cut_abstracts"] += pc.sum(pc.greater(kept["cut_chars"], 0)).as_py() or 0
        self._count("language", kept)
        self._pending.append(kept.select(CORPUS_SCHEMA.names))
        self._write_full_groups()

    def _count(self, column: str, batch: pa.Table) -> None:
        for item in pc.value_counts(batch[column]).to_pylist():
            self._of[column][item["values"]] += item["counts"]

    def _write_full_groups(self, *, rest: bool = False) -> None:
        """Write what fills row groups, and with ``rest`` what does not; so much memory is all that is held."""
        table = pa.concat_tables(self._pending) if self._pending else CORPUS_SCHEMA.empty_table()
        while len(table) >= (room := min(self._rows_per_group, _ROWS_PER_PART - self._in_part)) or (
            rest and len(table)
        ):
            # One chunk: the bytes must not show how the rows came in.
            self._write(table.slice(0, room).combine_chunks())
            table = table.slice(room)
        self._pending = [table]

    def _write(self, group: pa.Table) -> None:
        if self._part is None:
            path = self._folder / f"part-{self._parts:05d}.parquet"
            self._part = pq.ParquetWriter(path, CORPUS_SCHEMA, compression="zstd")
        self._part.write_table(group, row_group_size=max(1, len(group)))
        self._counts["patents"] += len(group)
        self._in_part += len(group)
        if self._in_part == _ROWS_PER_PART:
            self._end_part()

    def _end_part(self) -> None:
        if self._part is not None:
            self._part.close()
            self._parts, self._in_part, self._part = self._parts + 1, 0, None

    def unread(self) -> list[dict[str, Any]]:
        """The rejects that are files which could not be read."""
        return [
            row for table in self.rejects for row in table.filter(pc.equal(table["reason"], UNREADABLE)).to_pylist()
        ]

    def finish(self, *, records: int, files: int, unseen: Sequence[Unseen]) -> Outcome:
        self._write_full_groups(rest=True)
        self.rejects.append(_rejects_of(unseen))
        records += len(unseen)  # whatever is in them, each is something that could not be used
        if not self._counts["patents"]:
            self._write(CORPUS_SCHEMA.empty_table())
        self._end_part()
        rejects = pa.concat_tables(self.rejects)
        rejects = rejects.sort_by([(name, "ascending") for name in REJECT_SCHEMA.names]).combine_chunks()
        pq.write_table(rejects, self._folder.parent / "rejects.parquet", compression="zstd")
        by_reason = Counter(rejects["reason"].to_pylist())
        patents, left_out = self._counts["patents"], self._counts["not_sampled"]
        if records != patents + left_out + len(rejects):  # a row was lost: nothing built on this can be trusted
            raise RuntimeError(f"{records} records came in, {patents} + {left_out} + {len(rejects)} went out")
        return Outcome(
            rows={"records": records, "patents": patents, "not_sampled": left_out},
            rejects=dict(sorted(by_reason.items())),
            report={
                "files": files,
                **{name: dict(sorted(self._of[column].items())) for column, name in _COUNTED.items()},
                "cut_abstracts": self._counts["cut_abstracts"],
            },
        )


def _rejects_of(unseen: Sequence[Unseen]) -> pa.Table:
    rows = [
        {"source": each.name, "publication_number": "", "reason": each.reason, "detail": each.detail} for each in unseen
    ]
    return pa.Table.from_pylist(rows, schema=REJECT_SCHEMA)


def ingest_step(config: Config, found: PatentFiles) -> StepSpec:
    """The corpus of the patents in ``found``."""
    data, seed = config.data, config.run.seed
    sampled = {"seed": seed} if data.max_samples else {}
    return StepSpec(
        name=NAME,
        version=3,
        settings=reading_settings(data) | sampled,
        inputs={"files": found},
        work=lambda context: ingest(context.folder, found, data, seed, emit=context.progress.emit),
        constants={"LANGUAGE_CHARS": LANGUAGE_CHARS, "MOST_KANA": MOST_KANA, "LEAST_HAN": LEAST_HAN},
        again=partial(look_again, found=found),
        check=partial(_require_two_patents, data_dir=data.data_dir),
        notes=lambda artifact: [*reading_notes(artifact, FieldNames.of(data.fields.named())), *found.notes()],
        rate=rate,
        counts=shown_counts,
    )


def shown_counts(rows: Mapping[str, int]) -> dict[str, int]:
    """Without what was left out of a sample where there is none."""
    return {key: value for key, value in rows.items() if value or key != "not_sampled"}


def reading_notes(artifact: Artifact, names: FieldNames) -> list[str]:
    """What was rejected, cut or read otherwise than as plain JSON; what looks like a field that was missed.

    Args:
        names: fields that the user named.
    """
    rejects, report = artifact.manifest.rejects, artifact.report
    lines = [f"{count:,} rejected: {reason}" for reason, count in rejects.items()]
    lines += [f"rejects with file names: {artifact.address}/rejects.parquet"] if rejects else []
    lines += [f"by {what}: {shown}" for what in ("format", "encoding") if (shown := _unusual(report, f"{what}s"))]
    if rejects:
        lines += advice(
            near_misses(artifact.table("rejects", "detail")["detail"].slice(0, _LOOKED_AT).to_pylist(), names)
        )
    if cut := report.get("cut_abstracts"):
        lines.append(f"{cut:,} abstracts cut at the length limit")
    return lines


def _unusual(report: Mapping[str, Any], what: str) -> str:
    """Counts in words, where they are not only of JSON in UTF-8."""
    counts = {name: count for name, count in report.get(what, {}).items() if name}
    shown = ", ".join(f"{name} {count:,}" for name, count in sorted(counts.items(), key=lambda each: -each[1]))
    return "" if set(counts) <= {"json", "utf-8"} else shown


def _require_two_patents(ingested: Artifact, data_dir: str) -> None:
    patents = ingested.manifest.rows["patents"]
    if patents < 2:
        raise UserError(
            f"{patents} usable patent in {data_dir!r}: a negative needs another patent (for same-group negatives at "
            f"least two in one main group); {ingested.address}/rejects.parquet says what was rejected"
        )
