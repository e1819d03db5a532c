"""Files that could not be read: what they were, so that a later run sees when they have become others.

A file is known by name, size and time. One that was cut while it was copied, or that nobody may read, can become whole
without a change of these; only of such files the content is compared.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Iterable, Mapping

from patent_embed.folders import Folder
from patent_embed.hashing import stream_digest

UNREADABLE = "unreadable_file"  # the reason of their rejects
_INSIDE = re.compile(r"[!@].*$", re.DOTALL)  # of a source: the member of an archive, the piece of a file


def digests_of_unread(root: Folder, rejects: Iterable[tuple[str, str]], files: Iterable[str]) -> dict[str, str]:
    """File → SHA-256 of its content; empty where it was the system that could not read it, which may pass.

    Args:
        rejects: source and detail of what was unreadable.
        files: the names of all files.
    """
    known, found = set(files), dict[str, str]()
    for source, detail in rejects:
        name = source if source in known else _INSIDE.sub("", source)
        if name in known:
            found[name] = "" if _of_the_system(detail) or found.get(name) == "" else _digest(root, name)
    return dict(sorted(found.items()))


def changed(root: Folder, digests: Mapping[str, str]) -> list[str]:
    """Those of the files that have another content than they had, or can be read now."""
    return [name for name, digest in digests.items() if _digest(root, name) != digest]


def _digest(root: Folder, name: str) -> str:
    try:
        with root.open(name) as file:
            return stream_digest(file)
    except OSError:
        return ""


def _of_the_system(detail: str) -> bool:
    kind = getattr(builtins, detail.partition(":")[0], None)
    return isinstance(kind, type) and issubclass(kind, OSError)
