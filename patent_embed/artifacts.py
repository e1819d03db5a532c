"""Step artifacts: a folder of data files and, written last, a manifest that vouches for them.

The manifest has size and SHA-256 of every file. Sizes are compared when an artifact is opened, contents when they are
read; what lies beside them in the folder is not read. An artifact lies in a folder of this machine, or in an object
store; then it is worked on and read in scratch folders.

A step is named by what went into it: ``<name>-<8 hex digits>`` of a digest over its settings, its inputs' digests and
its code version. A finished folder with that name is the result, so a step with nothing changed is not run again.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, model_validator

from patent_embed.checked import digests_of, is_whole, sync
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at, json_of
from patent_embed.hashing import text_digest
from patent_embed.scratch import scratch

MANIFEST = "manifest.json"
SCHEMA_VERSION = 2
_BATCH = 1 << 16


class Manifest(BaseModel):
    """What a finished artifact holds. ``rows`` counts results, ``rejects`` counts what was left out, by reason.

    ``inputs`` names what it was to be made from, ``made_from`` the ``content`` of the artifacts among them.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int
    step: str
    code_version: int
    digest: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    made_from: dict[str, str]
    files: dict[str, int]  # path inside the artifact → bytes
    sha256: dict[str, str]  # of the same files
    rows: dict[str, int]
    rejects: dict[str, int]
    report: dict[str, Any]
    seconds: float

    @model_validator(mode="after")
    def _files_have_digests(self) -> Manifest:
        if self.files.keys() != self.sha256.keys():
            raise ValueError("files and their digests differ")
        return self

    @property
    def content(self) -> str:
        """Digest of names and contents of its files: the same where a step was made again and nothing differs."""
        return text_digest(*(f"{name}\0{self.sha256[name]}\n" for name in sorted(self.files)))


@dataclass(frozen=True)
class Artifact:
    """A finished artifact in ``place``. Its files are read through ``file``, which brings those of a store to ``path``
    first; on this machine that is the same folder."""

    place: Folder
    manifest: Manifest
    path: Path

    @property
    def digest(self) -> str:
        """Of the step that made it."""
        return self.manifest.digest

    @property
    def address(self) -> str:
        """What ``open_artifact`` finds it by, on any machine that reaches the output folder."""
        return self.place.address

    def file(self, name: str) -> Path:
        """A file or folder of the artifact on this machine, whose contents are as they were made. It need not exist.

        Raises:
            UserError: a file has another content than the manifest says.
        """
        target = self.path / name
        for inside, size in self.manifest.files.items():
            local = self.path / inside
            if local.is_relative_to(target):
                if not (local.exists() and local.stat().st_size == size):
                    self.place.fetch(inside, local)
                self._check(inside, local)
        return target

    def _check(self, inside: str, local: Path) -> None:
        digest = self.manifest.sha256[inside]
        if is_whole(local, digest):
            return
        if self.place.everywhere:  # it may be the copy that is damaged
            local.unlink()
            self.place.fetch(inside, local)
            if is_whole(local, digest):
                return
        raise UserError(
            f"{self.place / inside} has not the content that its manifest vouches for (SHA-256 {digest[:16]}…): the "
            f"artifact is damaged; remove {self.place} to run the step again"
        )

    @property
    def report(self) -> dict[str, Any]:
        """What the step says of its work."""
        return self.manifest.report

    def table(self, name: str, *columns: str) -> pa.Table:
        """The Parquet file ``name.parquet``, or the files ``name/*.parquet`` in name order, as one table.

        ``columns``: only these, in their order; none: all. What is not asked for is not read.
        """
        return pa.concat_tables([pq.read_table(part, columns=list(columns) or None) for part in self.parts(name)])

    def groups(self, name: str, *columns: str) -> Iterator[pa.Table]:
        """``table``, a row group at a time: so much is held, and no more."""
        for part in self.parts(name):
            file = pq.ParquetFile(part)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=list(columns) or None)

    def batches(self, name: str, *columns: str) -> Iterator[pa.Table]:
        """``table``, ``_BATCH`` rows at a time, however many a row group has."""
        for part in self.parts(name):
            for batch in pq.ParquetFile(part).iter_batches(_BATCH, columns=list(columns) or None):
                yield pa.Table.from_batches([batch])

    def row_groups(self, name: str) -> Iterator[tuple[Path, int, int]]:
        """The row groups of ``parts``: the file, the number there, and the rows."""
        for part in self.parts(name):
            metadata = pq.read_metadata(part)
            for group in range(metadata.num_row_groups):
                yield part, group, metadata.row_group(group).num_rows

    def parts(self, name: str) -> list[Path]:
        """The file ``name.parquet``, or the files ``name/*.parquet`` in name order, on this machine."""
        single = f"{name}.parquet"
        if single in self.manifest.files:
            return [self.file(single)]
        self.file(name)
        inside = (each for each in self.manifest.files if each.startswith(f"{name}/") and each.endswith(".parquet"))
        return [self.path / each for each in sorted(inside) if each.count("/") == name.count("/") + 1]


@dataclass(frozen=True)
class ModelRef:
    """Where any worker finds a model: a folder of this machine, or what lies ``inside`` the artifact at ``address``."""

    address: str
    inside: str | None = None

    def folder(self) -> Path:
        """The model's folder on the machine that asks."""
        return Path(self.address) if self.inside is None else open_artifact(self.address).file(self.inside)


@dataclass
class Outcome:
    """What a step's function returns: counts for the manifest and a JSON-able report.

    ``working``: files below folders whose names begin so are left in place, and are no part of the result.
    """

    rows: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    working: str = ""


@dataclass(frozen=True)
class Step:
    """A unit of work. ``code_version`` is raised whenever the same settings and inputs would give another result."""

    name: str
    code_version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]  # upstream name → digest

    @property
    def digest(self) -> str:
        """SHA-256 over all that goes into it."""
        identity = [SCHEMA_VERSION, self.name, self.code_version, dict(self.settings), dict(self.inputs)]
        text = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return text_digest(text)

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.name}-{self.digest[:8]}"


@dataclass(frozen=True)
class ArtifactStore:
    """All step folders below ``root``.

    ``made_in``: where steps are made; None: in ``root``. What is finished there is found as well.
    """

    root: Folder
    made_in: Folder | None = None

    def place(self, step: Step) -> Folder:
        """Where the artifact of ``step`` is made."""
        return (self.made_in or self.root) / step.folder

    def find(self, step: Step) -> Artifact | None:
        """The finished artifact of ``step``, or None when there is none or it was left unfinished."""
        places = [self.root / step.folder, *([self.place(step)] if self.made_in else [])]
        place = next((each for each in places if each.size(MANIFEST) is not None), None)
        if place is None:
            return None
        artifact = open_artifact(place)
        if artifact.digest != step.digest:
            raise UserError(
                f"{place / MANIFEST} carries digest {artifact.digest[:16]}, expected {step.digest[:16]}: it was made "
                "by something else; move the folder away or choose another --output_dir"
            )
        return artifact

    def finished(self, name: str) -> list[Artifact]:
        """The finished artifacts of steps that are called ``name`` or ``name``-something, those that were finished last
        first. What cannot be read is left out: nobody asked for it."""
        inside = (entry for entry in self.root.entries() if PurePosixPath(entry.name).name == MANIFEST)
        manifests = [entry for entry in inside if entry.name.startswith(f"{name}-") and entry.name.count("/") == 1]
        found = list[Artifact]()
        for entry in sorted(manifests, key=lambda entry: (-entry.mtime_ns, entry.name)):
            with contextlib.suppress(UserError):
                found.append(open_artifact(self.root / str(PurePosixPath(entry.name).parent)))
        return found

    def run(
        self,
        step: Step,
        work: Callable[[Path], Outcome],
        *,
        keep_partial: bool = False,
        made_from: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Run ``work`` on the step's workspace and seal what it made.

        Args:
            keep_partial: leave an unfinished folder's content in place for ``work`` to continue from; otherwise it is
                removed first.
            made_from: the content of the artifacts that ``work`` reads, by the names of the step's inputs.
        """
        place = self.place(step)
        place.delete(MANIFEST)  # before anything that it vouches for: a kill must not leave it alone
        if not keep_partial:
            place.delete()
        folder = place.workspace(step.folder)
        started = time.perf_counter()
        outcome = work(folder)
        place.put(folder)
        working = outcome.working or "\0"
        files = {entry.name: entry.size for entry in place.entries() if not entry.name.startswith(working)}
        if not place.everywhere:
            sync(folder, files)  # the manifest must not be on the disk before what it vouches for
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            step=step.name,
            code_version=step.code_version,
            digest=step.digest,
            settings=dict(step.settings),
            inputs=dict(step.inputs),
            made_from=dict(made_from or {}),
            files=files,
            sha256=digests_of(place, files, folder),
            rows=outcome.rows,
            rejects=outcome.rejects,
            report=outcome.report,
            seconds=round(time.perf_counter() - started, 3),
        )
        place.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
        made = open_artifact(place)
        place.leave(folder, made.path)
        return made

    def replace(self, step: Step, fresh: Artifact) -> Artifact:
        """Put an artifact of ``step`` that was made elsewhere in the place of the one that is here."""
        place = self.place(step)
        place.delete(MANIFEST)
        place.delete()
        for name in fresh.manifest.files:
            place.put(fresh.file(name), name)
        place.write(MANIFEST, fresh.manifest.model_dump_json(indent=1).encode())
        return open_artifact(place)


def open_artifact(place: Path | str | Folder) -> Artifact:
    """Read a finished artifact: a folder, or the address of one in a store.

    Raises:
        UserError: its manifest is torn or foreign, or a file is missing or cut.
    """
    place = folder_at(place)
    path = place / MANIFEST
    try:
        content = place.read(MANIFEST)
        if content is None:
            raise UserError(f"{path} cannot be read: there is no such file; remove the folder to run the step again")
        _check_version(path, content)
        manifest = Manifest.model_validate_json(content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is torn, or not a manifest of this program"
        raise UserError(f"{path} cannot be read: {reason}; remove the folder to run the step again") from None
    entries = place.entries()
    sizes = {entry.name: entry.size for entry in entries}
    for name, size in manifest.files.items():
        if sizes.get(name) != size:
            raise UserError(
                f"{place / name} has {sizes.get(name)} bytes, its manifest says {size}: the artifact is damaged; "
                f"remove {place} to run the step again"
            )
    # An artifact made anew has another manifest or other times: an old copy is never taken for it.
    copy = text_digest(repr((place.address, content, entries)))[:16]
    return Artifact(place, manifest, place.copies(scratch(f"{manifest.step}-{copy}")))


def _check_version(path: Folder, content: bytes) -> None:
    """What another version of this program wrote has other fields: it is named before they are missed."""
    found = json_of(content)
    version = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(version, int) and version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}; "
            "choose another --output_dir or remove the folder"
        )
