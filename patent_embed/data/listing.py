"""All files below a data root: links to folders are followed, loops end, what cannot be looked at is named."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from patent_embed.folders import Entry, Folder


@dataclass
class Listing:
    """What lies below a data root.

    Attributes:
        entries: its files, by name.
        unreadable: names of links that lead nowhere, of folders that cannot be opened, and of files that have gone.
    """

    entries: list[Entry] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


def files_below(root: Folder) -> Listing:
    """All files at any depth, each folder once, whatever links lead to it; an absent folder has none.

    Raises:
        UserError: the store refuses.
    """
    return Listing(root.entries()) if root.everywhere else _walked(Path(root.inside))


def _walked(root: Path) -> Listing:
    """Folders before links to folders: a file has the name of its own place, where that is below the root."""
    listing, seen = Listing(), set[tuple[int, int]]()
    waiting, links = deque([""]), deque[str]()
    while waiting or links:
        name = waiting.popleft() if waiting else links.popleft()
        try:
            stat = (root / name).stat()
            if (stat.st_dev, stat.st_ino) in seen:
                continue
            with os.scandir(root / name) as found:
                below = sorted(found, key=lambda entry: entry.name)
        except (FileNotFoundError, NotADirectoryError):
            listing.unreadable += [name] if name else []
            continue
        except OSError:  # no permission, or links that lead to one another
            listing.unreadable.append(name or ".")
            continue
        seen.add((stat.st_dev, stat.st_ino))
        for entry in below:
            inside = f"{name}/{entry.name}" if name else entry.name
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else waiting).append(inside)
                elif entry.is_file():
                    stat = entry.stat()
                    listing.entries.append(Entry(inside, stat.st_size, stat.st_mtime_ns))
                elif entry.is_symlink():
                    listing.unreadable.append(inside)
            except OSError:
                listing.unreadable.append(inside)
    listing.entries.sort(key=lambda entry: entry.name)
    listing.unreadable.sort()
    return listing
