"""Whose a folder is: only what this program has made is replaced or removed by it.

An output folder has a marker, ``patent_embed.json``, with the names in it that this program has taken. What bears one
of our names and is not in the marker is somebody else's, and refused. Folders of before there were markers are known by
a step's manifest or a run's summary, which nobody else writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from patent_embed.errors import UserError
from patent_embed.folders import Folder, json_of

MARKER = "patent_embed.json"
_MANIFEST_KEYS = {"step", "code_version", "digest"}
_SUMMARY_KEYS = {"steps", "config", "versions"}


def require_ours(place: Folder, names: Iterable[str]) -> None:
    """That nothing of anybody else bears one of ``names`` in ``place``.

    Raises:
        UserError: something does; it names it.
    """
    _foreign_refused(place, names, _taken(place))


def claim(place: Folder, names: Iterable[str]) -> None:
    """Note in ``place`` that ``names`` are this program's, before they are made. Raises as ``require_ours``."""
    wanted, taken = set(names), _taken(place)
    if taken is not None and wanted <= taken:
        return
    _foreign_refused(place, wanted, taken)
    about = {"program": "patent_embed", "schema_version": 1, "names": sorted(wanted | (taken or set()))}
    place.write(MARKER, (json.dumps(about, indent=1) + "\n").encode())


def _foreign_refused(place: Folder, names: Iterable[str], taken: set[str] | None) -> None:
    foreign = [name for name in sorted(set(names) - (taken or set())) if place.holds(name)]
    if foreign and not (taken is None and _made_before_markers(place)):
        raise UserError(
            f"{place / foreign[0]} was not made by this program ({MARKER} in {str(place)!r} "
            f"{'does not name it' if taken is not None else 'is missing'}), and would be replaced; move it away, or "
            "choose another --output_dir"
        )


def _taken(place: Folder) -> set[str] | None:
    """The names in the marker; None without one."""
    content = place.read(MARKER)
    if content is None:
        return None
    about = _parsed(content)
    names = about.get("names")
    if about.get("program") != "patent_embed" or not isinstance(names, list):
        raise UserError(
            f"{place / MARKER} is torn, or not of this program: whose the folder is cannot be known; choose another "
            "--output_dir, or remove this file and what is to be made anew"
        )
    return {name for name in names if isinstance(name, str)}


def _made_before_markers(place: Folder) -> bool:
    if _parsed(place.read("run_summary.json") or b"").keys() >= _SUMMARY_KEYS:
        return True
    steps = place / "steps"
    manifests = (entry.name for entry in steps.entries() if PurePosixPath(entry.name).match("*/manifest.json"))
    return any(_parsed(steps.read(name) or b"").keys() >= _MANIFEST_KEYS for name in manifests)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json_of(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
