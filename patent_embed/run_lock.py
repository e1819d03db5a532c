"""One writer at a time in an output folder: a lock that names its owner, and is taken over when the owner is dead.

The lock is a file, ``run.lock``. On this machine it comes into being as a whole or not at all (a hard link). A store
offers no such thing through pyarrow: there whoever wants the lock first writes a claim of its own beside it, and goes
on only when it then sees no other; whoever sees one withdraws and tries again a random moment later. Who writes the
later of two claims sees the earlier one, because S3, GCS and Azure list all that was written before: two never go on
at once. A claim stands for moments; one that is older than ``_CLAIM_S`` by the store's own clock is a dead process's.

An owner on this machine is dead when its process is: number and start time are compared, so a number that was given
again deceives nobody, and a process that is only stopped keeps its lock. An owner elsewhere is dead when its lock was
not renewed for ``STALE_S`` by its own clock and does not change while it is watched, so that a wrong clock alone kills
nobody.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from patent_embed.errors import UserError
from patent_embed.folders import Folder, json_of

log = logging.getLogger("patent_embed")
LOCK = "run.lock"
HEARTBEAT_S = 15.0
STALE_S = 120.0  # without a heartbeat
_CLAIMS = f"{LOCK}.claims"
_CLAIM_S = 60.0
_BACKS_OFF_S = 0.5  # at most, the first time that others claim the lock at the same moment


@dataclass(frozen=True)
class Owner:
    """Who holds a lock.

    Attributes:
        token: of this taking of the lock, and of no other.
        machine: host and boot, and what numbers its processes: where it is equal, ``pid`` means the same process.
        pid, started: the process, and when it began, in the kernel's ticks; 0 where the system does not say.
        since, renewed: seconds since 1970 by the owner's clock.
    """

    token: str
    command: str
    host: str
    machine: str
    pid: int
    started: int
    since: float
    renewed: float

    def __str__(self) -> str:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(self.since))
        return f"`{self.command}`, process {self.pid} on {self.host}, since {when}"


class Held(UserError):
    """A living owner has the lock."""

    def __init__(self, place: Folder, owner: Owner) -> None:
        self.owner = owner
        super().__init__(
            f"{str(place)!r} is in use by {owner}: two runs would remove each other's steps; wait for it, or choose "
            f"another --output_dir (if that process is no more, remove {place / LOCK})"
        )


class RunLock:
    """The lock on ``place``, held from its making to ``release``.

    Args:
        command: what the owner does, for others to read.
        lost: called from another thread when somebody else has the lock; the default interrupts the program.

    Attributes:
        taken_over: the dead owner that had it before; None without one.

    Raises:
        Held: somebody else has it.
        UserError: the folder cannot be written.
    """

    def __init__(self, place: Folder, command: str, lost: Callable[[Owner | None], None] | None = None) -> None:
        self._place, self._lost = place, lost or _interrupt
        now = time.time()
        self.owner = Owner(
            token=uuid.uuid4().hex,
            command=command,
            host=socket.gethostname(),
            machine=_machine(),
            pid=os.getpid(),
            started=_started(os.getpid()) or 0,
            since=now,
            renewed=now,
        )
        try:
            self.taken_over = self._take()
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error).splitlines()[0]
            raise UserError(
                f"{str(place)!r} cannot be written ({reason}), and nothing can be "
                "kept there; set --output_dir to a folder that can"
            ) from None
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="run lock", daemon=True)
        self._heart.start()

    def release(self) -> None:
        """Give the lock back; nothing where somebody else has it."""
        self._ended.set()
        self._heart.join()
        with contextlib.suppress(OSError):  # the folder is gone, or its disk: nobody is kept out
            holder = read_owner(self._place)
            if holder is not None and holder.token == self.owner.token:
                self._place.delete(LOCK)

    def _take(self) -> Owner | None:
        before = self._dead_owner()
        if self._place.everywhere:
            before = self._claim(before)
        else:
            self._link(before)
        holder = read_owner(self._place)
        if holder is None or holder.token != self.owner.token:
            raise Held(self._place, holder or self.owner)
        return before

    def _dead_owner(self) -> Owner | None:
        """Whose lock is there, though its owner is dead; None where none is."""
        before = read_owner(self._place)
        if before is not None and is_alive(self._place, before):
            raise Held(self._place, before)
        return before

    def _claim(self, dead: Owner | None) -> Owner | None:
        """Write the lock into a store when no other claim is there; gives the dead owner whose lock it replaced."""
        claims, mine = self._place / _CLAIMS, self.owner.token
        pause = _BACKS_OFF_S
        while True:
            try:
                claims.write(mine, b"")
                found = {each.name: each.mtime_ns for each in claims.entries()}
                written = found.pop(mine, None)  # None: somebody took it for a dead one's
                if written is not None and all(each < written - _CLAIM_S * 1e9 for each in found.values()):
                    if read_owner(self._place) != dead:  # a rival has come and may have gone
                        dead = self._dead_owner()
                    self._write()
                    for name in found:
                        claims.delete(name)
                    return dead
            finally:
                claims.delete(mine)
            time.sleep(random.uniform(0, pause))
            pause = min(1.5 * pause, 20 * _BACKS_OFF_S)
            dead = self._dead_owner()

    def _link(self, dead: Owner | None) -> None:
        """Make the lock file of this machine, whole; the one of a ``dead`` owner is put aside first."""
        folder = Path(self._place.inside)
        folder.mkdir(parents=True, exist_ok=True)
        lock, fresh = folder / LOCK, folder / f".{LOCK}.{self.owner.token}.tmp"
        fresh.write_bytes(_content(self.owner))
        try:
            if dead is not None or (lock.exists() and read_owner(self._place) is None):
                aside = folder / f".{LOCK}.{self.owner.token}.old.tmp"
                with contextlib.suppress(FileNotFoundError):  # another one was faster
                    os.rename(lock, aside)
                    taken = _parsed(aside.read_bytes())
                    if taken is not None and taken != dead:  # it was faster, and what was put aside is its lock
                        with contextlib.suppress(FileExistsError):
                            os.link(aside, lock)
                    aside.unlink()
            try:
                os.link(fresh, lock)
            except FileExistsError:
                return
            except OSError:  # a file system without hard links
                with contextlib.suppress(FileExistsError), lock.open("xb") as file:
                    file.write(_content(self.owner))
        finally:
            fresh.unlink()

    def _write(self) -> None:
        self._place.write(LOCK, _content(self.owner))

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            try:
                holder = read_owner(self._place)
                if holder is None or holder.token != self.owner.token:
                    if not self._ended.is_set():
                        self._lost(holder)
                    return
                self.owner = replace(self.owner, renewed=time.time())
                self._write()
            except (OSError, UserError) as error:  # a full disk, a store that is away: the next beat may come through
                log.debug("the run's lock was not renewed: %s", error)


def read_owner(place: Folder) -> Owner | None:
    """Who has the lock on ``place``, dead or alive; None where nobody has, or the file is torn."""
    content = place.read(LOCK)
    return None if content is None else _parsed(content)


def is_alive(place: Folder, owner: Owner) -> bool:
    """Whether the owner of the lock on ``place`` lives. May watch the lock for two heartbeats."""
    if owner.machine == _machine():
        started = _started(owner.pid)
        return started is not None and (started == owner.started or not owner.started)
    if time.time() - owner.renewed < STALE_S:
        return True
    ends = time.monotonic() + 2 * HEARTBEAT_S
    while time.monotonic() < ends:
        time.sleep(min(1.0, HEARTBEAT_S))
        if read_owner(place) != owner:
            return True  # renewed, given back or taken by another: whoever asks next will know
    return False


def _interrupt(holder: Owner | None) -> None:
    log.error("this run's lock on the output folder was taken by %s: the run ends", holder or "nobody that is known")
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as a script's shell sets it for what runs with "&"
    os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)


def _content(owner: Owner) -> bytes:
    return (json.dumps(asdict(owner), indent=1) + "\n").encode()


def _parsed(content: bytes) -> Owner | None:
    try:
        found = Owner(**json_of(content))
    except (ValueError, TypeError):
        return None
    numbers = (found.pid, found.started, found.since, found.renewed)
    return found if all(isinstance(each, int | float) for each in numbers) else None


def _machine() -> str:
    """Equal for processes that see each other's numbers: of one boot of one host, outside or inside one container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _started(pid: int) -> int | None:
    """When a process of this machine began, in ticks since the boot; 0 where that is not told, None where it is no
    more."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:  # a system without /proc
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return 0
    fields = stat.rpartition(")")[2].split()  # the name of a program may hold blanks and brackets
    return None if fields[0] in ("Z", "X") else int(fields[19])
