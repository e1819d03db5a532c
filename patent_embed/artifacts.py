"""Step artifacts: a folder of data files and, written last, a manifest that vouches for them.

An artifact lies in a folder of this machine, or in an object store; then it is worked on and read in scratch folders.

A step is named by what went into it: ``<name>-<8 hex digits>`` of a digest over its settings, its inputs' digests and
its code version. A finished folder with that name is the result, so a step with nothing changed is not run again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from patent_embed.errors import UserError
from patent_embed.folders import RemoteFolder, is_remote, scratch, write_atomic

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1


class Manifest(BaseModel):
    """What a finished artifact holds. ``rows`` counts results, ``rejects`` counts what was left out, by reason."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int
    step: str
    code_version: int
    digest: str
    settings: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, int]  # path inside the artifact → bytes
    rows: dict[str, int]
    rejects: dict[str, int]
    report: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Artifact:
    """A finished artifact. Its files are read through ``file``, which brings those of a store to ``path`` first."""

    path: Path
    manifest: Manifest
    remote: RemoteFolder | None = None

    @property
    def digest(self) -> str:
        return self.manifest.digest

    @property
    def address(self) -> str:
        """What ``open_artifact`` finds it by on any machine that reaches the output folder."""
        return str(self.remote or self.path)

    def file(self, name: str) -> Path:
        """A file or folder of the artifact on this machine. It need not exist."""
        target = self.path / name
        if self.remote is not None:
            for inside, size in self.manifest.files.items():
                local = self.path / inside
                if local.is_relative_to(target) and not (local.exists() and local.stat().st_size == size):
                    self.remote.fetch(inside, local)
        return target

    @property
    def report(self) -> dict[str, Any]:
        return self.manifest.report

    def table(self, name: str) -> pa.Table:
        """The Parquet file ``name.parquet``, or the files ``name/*.parquet`` in name order, as one table."""
        single = self.file(f"{name}.parquet")
        if single.exists():
            return pq.read_table(single)
        return pa.concat_tables([pq.read_table(part) for part in self.parts(name)])

    def parts(self, name: str) -> list[Path]:
        return sorted(self.file(name).glob("*.parquet"))


@dataclass
class Outcome:
    """What a step's function returns: counts for the manifest and a JSON-able report."""

    rows: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """A unit of work. ``code_version`` is raised whenever the same settings and inputs would give another result."""

    name: str
    code_version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]  # upstream name → digest

    @property
    def digest(self) -> str:
        identity = [SCHEMA_VERSION, self.name, self.code_version, dict(self.settings), dict(self.inputs)]
        text = json.dumps(identity, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def folder(self) -> str:
        return f"{self.name}-{self.digest[:8]}"


@dataclass
class ArtifactStore:
    """All step folders of one output folder; with ``remote``, they lie there and ``root`` is where they are made."""

    root: Path
    remote: RemoteFolder | None = None

    def path(self, step: Step) -> Path:
        return self.root / step.folder

    def shared(self, folder: Path) -> Path | RemoteFolder:
        """A step's folder as workers on other machines reach it."""
        return folder if self.remote is None else self.remote / folder.name

    def find(self, step: Step) -> Artifact | None:
        """The finished artifact of ``step``, or None when there is none or it was left unfinished."""
        place = self.shared(self.path(step))
        if isinstance(place, RemoteFolder):
            if place.read(MANIFEST) is None:
                return None
        elif not (place / MANIFEST).exists():
            return None
        artifact = open_artifact(place)
        if artifact.digest != step.digest:
            raise UserError(
                f"{_name(place)} carries digest {artifact.digest[:16]}, expected {step.digest[:16]}: it was made "
                "by something else; move the folder away or choose another --output_dir"
            )
        return artifact

    def run(self, step: Step, work: Callable[[Path], Outcome], *, keep_partial: bool = False) -> Artifact:
        """Run ``work`` on the step's folder and seal it. ``keep_partial`` leaves an unfinished folder's content in
        place for ``work`` to continue from; otherwise it is removed first."""
        folder = self.path(step)
        place = self.shared(folder)
        if isinstance(place, RemoteFolder):
            place.delete(MANIFEST if keep_partial else "")
        if folder.exists() and not keep_partial:
            shutil.rmtree(folder)
        (folder / MANIFEST).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        outcome = work(folder)
        if isinstance(place, RemoteFolder):
            place.put(folder)
            files = {entry.name: entry.size for entry in place.entries()}
        else:
            files = {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            step=step.name,
            code_version=step.code_version,
            digest=step.digest,
            settings=dict(step.settings),
            inputs=dict(step.inputs),
            files=files,
            rows=outcome.rows,
            rejects=outcome.rejects,
            report=outcome.report,
            seconds=round(time.perf_counter() - started, 3),
        )
        write_atomic(folder / MANIFEST, manifest.model_dump_json(indent=1).encode())
        if isinstance(place, RemoteFolder):
            place.put(folder / MANIFEST, MANIFEST)
            return Artifact(folder, manifest, place)
        return Artifact(folder, manifest)


def open_artifact(place: Path | str | RemoteFolder) -> Artifact:
    """Read a finished artifact: a folder, or the address of one in a store.

    Raises UserError when its manifest is torn or foreign, or a file is missing or cut.
    """
    if isinstance(place, str):
        place = RemoteFolder(place) if is_remote(place) else Path(place)
    path = _name(place)
    try:
        content = (place.read(MANIFEST) or b"") if isinstance(place, RemoteFolder) else (place / MANIFEST).read_bytes()
        manifest = Manifest.model_validate_json(content)
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is torn, or not a manifest of this program"
        raise UserError(f"{path} cannot be read: {reason}; remove the folder to run the step again") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {manifest.schema_version}, this program reads {SCHEMA_VERSION}; "
            "choose another --output_dir or remove the folder"
        )
    entries = place.entries() if isinstance(place, RemoteFolder) else []
    sizes = {entry.name: entry.size for entry in entries}
    for name, size in manifest.files.items():
        if isinstance(place, RemoteFolder):
            file, found = f"{place}/{name}", sizes.get(name)
        else:
            file, found = str(place / name), (place / name).stat().st_size if (place / name).exists() else None
        if found != size:
            raise UserError(
                f"{file} has {found} bytes, its manifest says {size}: the artifact is damaged; "
                f"remove {place} to run the step again"
            )
    if isinstance(place, RemoteFolder):
        # An artifact made anew has another manifest or other times: an old copy is never taken for it.
        copy = hashlib.sha256(repr((place.uri, content, entries)).encode()).hexdigest()[:16]
        return Artifact(scratch(f"{manifest.step}-{copy}"), manifest, place)
    return Artifact(place, manifest)


def model_folder(address: str, name: str) -> Path:
    """The folder ``name`` of an artifact, or of any folder of this machine, for a worker to load a model from."""
    return open_artifact(address).file(name) if is_remote(address) else Path(address) / name


def _name(place: Path | RemoteFolder) -> str:
    return str(place / MANIFEST)
