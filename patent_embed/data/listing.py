"""All files below a data root: links to folders are followed, loops end, what cannot be looked at is named, and why."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from patent_embed.folders import Entry, Folder
from patent_embed.text import visible

# Why something below a data root is not read: reasons of rejects.
DANGLING_LINK, UNREADABLE_FOLDER, NOT_A_FILE = "dangling_link", "unreadable_folder", "not_a_file"
NAME_NOT_UTF8 = "name_not_utf8"


@dataclass(frozen=True, order=True)
class Unseen:
    """What lies below a data root and cannot be looked at: its name there, a reason, and what the system says."""

    name: str
    reason: str
    detail: str = ""


@dataclass
class Listing:
    """What lies below a data root.

    Attributes:
        entries: its files, by name.
        unseen: links that lead nowhere or to one another, folders that cannot be opened, pipes, sockets and devices,
            names that are no UTF-8.
    """

    entries: list[Entry] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)


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
        except (FileNotFoundError, NotADirectoryError) as error:  # the root may be a file; others have gone meanwhile
            listing.unseen += [Unseen(name, UNREADABLE_FOLDER, error.strerror or "")] if name else []
            continue
        except OSError as error:  # no permission
            listing.unseen.append(Unseen(name or ".", UNREADABLE_FOLDER, error.strerror or ""))
            continue
        seen.add((stat.st_dev, stat.st_ino))
        for entry in below:
            inside = f"{name}/{entry.name}" if name else entry.name
            if not _is_text(inside):  # no table, digest or report could name it
                listing.unseen.append(Unseen(visible(inside), NAME_NOT_UTF8))
                continue
            try:
                if entry.is_dir():
                    (links if entry.is_symlink() else waiting).append(inside)
                elif entry.is_file():
                    stat = entry.stat()
                    listing.entries.append(Entry(inside, stat.st_size, stat.st_mtime_ns))
                else:
                    lost = entry.is_symlink() and not Path(entry.path).exists()
                    listing.unseen.append(Unseen(inside, DANGLING_LINK if lost else NOT_A_FILE))
            except OSError as error:  # links that lead to one another, or a folder on the way that is shut
                listing.unseen.append(Unseen(inside, DANGLING_LINK, error.strerror or ""))
    listing.entries.sort(key=lambda entry: entry.name)
    listing.unseen.sort()
    return listing


def _is_text(name: str) -> bool:
    """Whether a name is what Python makes of UTF-8: bytes that are none come as halves of surrogate pairs."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
