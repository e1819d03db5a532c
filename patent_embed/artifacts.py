"""Step artifacts: a folder of data files and, written last, a manifest that vouches for them.

An artifact lies in a folder of this machine, or in an object store; then it is worked on and read in scratch folders.

A step is named by what went into it: ``<name>-<8 hex digits>`` of a digest over its settings, its inputs' digests and
its code version. A finished folder with that name is the result, so a step with nothing changed is not run again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at, scratch
from patent_embed.hashing import text_digest

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
        """A file or folder of the artifact on this machine. It need not exist."""
        target = self.path / name
        for inside, size in self.manifest.files.items():
            local = self.path / inside
            if local.is_relative_to(target) and not (local.exists() and local.stat().st_size == size):
                self.place.fetch(inside, local)
        return target

    @property
    def report(self) -> dict[str, Any]:
        """What the step says of its work."""
        return self.manifest.report

    def table(self, name: str, *columns: str) -> pa.Table:
        """The Parquet file ``name.parquet``, or the files ``name/*.parquet`` in name order, as one table.

        ``columns``: only these, in their order; none: all. What is not asked for is not read.
        """
        single, wanted = self.file(f"{name}.parquet"), list(columns) or None
        if single.exists():
            return pq.read_table(single, columns=wanted)
        return pa.concat_tables([pq.read_table(part, columns=wanted) for part in self.parts(name)])

    def parts(self, name: str) -> list[Path]:
        """The files ``name/*.parquet`` in name order, on this machine."""
        return sorted(self.file(name).glob("*.parquet"))


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
    """All step folders below ``root``."""

    root: Folder

    def place(self, step: Step) -> Folder:
        """Where the artifact of ``step`` lies, or would."""
        return self.root / step.folder

    def find(self, step: Step) -> Artifact | None:
        """The finished artifact of ``step``, or None when there is none or it was left unfinished."""
        place = self.place(step)
        if place.size(MANIFEST) is None:
            return None
        artifact = open_artifact(place)
        if artifact.digest != step.digest:
            raise UserError(
                f"{place / MANIFEST} carries digest {artifact.digest[:16]}, expected {step.digest[:16]}: it was made "
                "by something else; move the folder away or choose another --output_dir"
            )
        return artifact

    def run(self, step: Step, work: Callable[[Path], Outcome], *, keep_partial: bool = False) -> Artifact:
        """Run ``work`` on the step's workspace and seal what it made. ``keep_partial`` leaves an unfinished folder's
        content in place for ``work`` to continue from; otherwise it is removed first."""
        place = self.place(step)
        place.delete(MANIFEST if keep_partial else "")
        folder = place.workspace(step.folder)
        started = time.perf_counter()
        outcome = work(folder)
        place.put(folder)
        manifest = Manifest(
            schema_version=SCHEMA_VERSION,
            step=step.name,
            code_version=step.code_version,
            digest=step.digest,
            settings=dict(step.settings),
            inputs=dict(step.inputs),
            files={entry.name: entry.size for entry in place.entries()},
            rows=outcome.rows,
            rejects=outcome.rejects,
            report=outcome.report,
            seconds=round(time.perf_counter() - started, 3),
        )
        place.write(MANIFEST, manifest.model_dump_json(indent=1).encode())
        made = open_artifact(place)
        place.leave(folder, made.path)
        return made


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
        manifest = Manifest.model_validate_json(content)
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is torn, or not a manifest of this program"
        raise UserError(f"{path} cannot be read: {reason}; remove the folder to run the step again") from None
    if manifest.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"{path} has schema version {manifest.schema_version}, this program reads {SCHEMA_VERSION}; "
            "choose another --output_dir or remove the folder"
        )
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
