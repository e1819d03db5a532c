"""The patent files of a folder, of one file, or of a place in a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from pyarrow.fs import FileType

from patent_embed.data.files import QUERY_CACHE_NAME, is_hidden, select_files, select_texts
from patent_embed.data.listing import Unseen, files_below
from patent_embed.errors import UserError
from patent_embed.folders import Entry, Folder, folder_at
from patent_embed.hashing import text_digest

_NAMED = 3  # of those that cannot be looked at


@dataclass(frozen=True)
class PatentFiles:
    """The patent files below ``root``, and how many other files were passed over; what a step is made from.

    Attributes:
        digest: of names, sizes and times of the files, and of what is ``unseen``.
        unseen: what cannot be looked at, by name; each is counted as a reject.
    """

    root: Folder
    files: Sequence[Entry]
    passed_over: int
    digest: str
    unseen: Sequence[Unseen] = ()

    @property
    def size(self) -> int:
        """Bytes of all files, as they lie there: compressed or not."""
        return sum(file.size for file in self.files)

    def notes(self) -> list[str]:
        """What is to be said of the other files."""
        lines = [f"{self.passed_over:,} files of other kinds passed over"] if self.passed_over else []
        for reason, count in sorted(Counter(each.reason for each in self.unseen).items()):
            some = [each.name for each in self.unseen if each.reason == reason][:_NAMED]
            lines.append(f"{count:,} not looked at, {reason}: {', '.join(some)}")
        return lines


def find_input(data_dir: str) -> PatentFiles:
    """The patent files of a folder, or the one file that ``data_dir`` names.

    Raises:
        UserError: there is no such folder, or no patent file in it.
    """
    root = folder_at(data_dir)
    listing, single = files_below(root), None
    entries = listing.entries
    if not entries and (single := _file_at(root)) is not None:
        root, entries = root.parent, [single]
    if not entries and not root.everywhere and not Path(data_dir).exists():
        raise UserError(
            f"data_dir {data_dir!r} does not exist: there is nothing to read; set --data_dir to a folder of patents "
            "(`patent-embed sample DIR` writes one to try)"
        )
    every = [entry.name for entry in entries if PurePosixPath(entry.name).name != QUERY_CACHE_NAME]
    names = select_files(every) | select_texts(every, root.open)
    others = len(every) - len(names)
    if not names:
        seen = f", {len(listing.unseen)} that cannot be looked at" if listing.unseen else ""
        raise UserError(
            f"data_dir {data_dir!r} holds no .json, .jsonl, .csv, .tsv, .xlsx, .xls, .parquet, .xml or .zip file "
            f"({others} others{seen}); set --data_dir to the folder with the patents"
        )
    files = sorted((entry for entry in entries if entry.name in names), key=lambda entry: PurePosixPath(entry.name))
    # Digests know a file that stands alone on this machine as ".", so that it may be renamed.
    named = [replace(file, name=".") for file in files] if single is not None and not root.everywhere else files
    unseen = tuple(each for each in listing.unseen if not is_hidden(each.name))
    return PatentFiles(root, files, others, input_digest(named, unseen), unseen)


def _file_at(place: Folder) -> Entry | None:
    """The file that is no folder; named as it is in its folder, which is not listed: it may be a large one."""
    info = place.filesystem.get_file_info(place.inside)
    return Entry(place.name, info.size, info.mtime_ns) if info.type == FileType.File else None


def input_digest(files: Sequence[Entry], unseen: Sequence[Unseen] = ()) -> str:
    """Digest of names, sizes and modification times: any edited, added or removed file changes it; so does what comes
    to be ``unseen``, since it is counted."""
    listed = (f"{file.name}\0{file.size}\0{file.mtime_ns}\n" for file in files)
    return text_digest(*listed, *(f"{each.name}\0{each.reason}\n" for each in unseen))
