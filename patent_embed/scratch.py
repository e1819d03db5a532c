"""Where copies of what lies elsewhere are put on this machine."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from patent_embed.errors import UserError


def scratch(name: str) -> Path:
    """A folder of this machine for copies, one for each ``name`` and user, which only this user can enter.

    Its place can be guessed, so another user of the machine may have made it: then it is not used.

    Raises:
        UserError: it is a link, or a folder in which another user may write.
    """
    root = Path(tempfile.gettempdir()) / f"patent_embed-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        root.mkdir(mode=0o700, parents=True)
    found = root.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(
            f"{str(root)!r} is a link, or another user owns it or may write into it, whose files would be taken for "
            "ours; have it removed, or set TMPDIR to a folder of your own"
        )
    if found.st_mode & 0o077:
        root.chmod(0o700)
    return root / name
