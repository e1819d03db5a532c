"""One writer at a time in an output folder: a lock that names its owner, and is taken over when the owner is dead.

The lock is a file, ``run.lock``. On this machine it comes into being as a whole or not at all (a hard link), and who
replaces, renews or removes it has the folder itself locked (``flock``) between looking and writing, so that of several
who find a dead owner one is the next. A store offers no such things through pyarrow: there whoever wants the lock first
writes a claim of its own beside it, and goes on only when it then sees no other; whoever sees one withdraws and tries
again a random moment later. Who writes the later of two claims sees the earlier one, because S3, GCS and Azure list all
that was written before: two never go on at once. A claim stands for moments; one that is older than ``_CLAIM_S`` by the
store's own clock is a dead process's, and who had to wait for half of that since its claim begins again.

An owner on this machine is dead when its process is: number and start time are compared, so a number that was given
again deceives nobody, and a process that is only stopped keeps its lock. An owner elsewhere is dead when its lock was
not renewed for ``STALE_S`` by its own clock and does not change during two heartbeats; where the clocks contradict each
other, when it does not change for ``STALE_S`` of this process's time. So a wrong clock alone kills nobody, and keeps no
dead one's lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import math
import os
import random
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from patent_embed.errors import UserError
from patent_embed.folders import Folder, json_of

log = logging.getLogger("patent_embed")
LOCK = "run.lock"
HEARTBEAT_S = 15.0
STALE_S = 120.0  # without a heartbeat
_CLAIMS = ".claims"  # the end of the name of a folder beside the lock
_CLAIM_S = 60.0
_BACKS_OFF_S = 0.5  # at most, the first time that others claim the lock at the same moment
_GUARDED_S = 10.0  # who has the folder locked for longer was stopped in the middle, and lives


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

    def __init__(self, place: Folder, owner: Owner, name: str = LOCK) -> None:
        self.owner = owner
        super().__init__(
            f"{str(place)!r} is in use by {owner}: two runs would remove each other's steps; wait for it, or choose "
            f"another --output_dir (if that process is no more, remove {place / name})"
        )


class RunLock:
    """The lock on ``place``, held from its making to ``release``, or to the end of a ``with`` block.

    Args:
        command: what the owner does, for others to read.
        lost: called from another thread when somebody else has the lock; the default interrupts the program.
        name: of the lock: those of other names are others.

    Attributes:
        taken_over: the dead owner that had it before; None without one.

    Raises:
        Held: somebody else has it.
        UserError: the folder cannot be written.
    """

    def __init__(
        self, place: Folder, command: str, lost: Callable[[Owner | None], None] | None = None, *, name: str = LOCK
    ) -> None:
        self._place, self._lost, self._name = place, lost or _interrupt, name
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

    def __enter__(self) -> RunLock:
        return self

    def __exit__(self, *raised: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the lock back; nothing where somebody else has it."""
        self._ended.set()
        self._heart.join()
        with contextlib.suppress(OSError), self._guarded():  # the folder is gone, or its disk: nobody is kept out
            holder = self._holder()
            if holder is not None and holder.token == self.owner.token:
                self._place.delete(self._name)

    def _holder(self) -> Owner | None:
        return read_owner(self._place, self._name)

    def _take(self) -> Owner | None:
        before = self._dead_owner()
        if self._place.everywhere:
            before = self._claim(before)
        else:
            self._link(before)
        holder = self._holder()
        if holder is None or holder.token != self.owner.token:
            raise Held(self._place, holder or self.owner, self._name)
        return before

    def _dead_owner(self) -> Owner | None:
        """Whose lock is there, though its owner is dead; None where none is."""
        before = self._holder()
        if before is not None and is_alive(self._place, before, self._name):
            raise Held(self._place, before, self._name)
        return before

    def _claim(self, dead: Owner | None) -> Owner | None:
        """Write the lock into a store when no other claim is there; gives the dead owner whose lock it replaced."""
        claims, mine = self._place / f"{self._name}{_CLAIMS}", self.owner.token
        pause = _BACKS_OFF_S
        while True:
            begun = time.monotonic()
            try:
                claims.write(mine, b"")
                found = {each.name: each.mtime_ns for each in claims.entries()}
                written = found.pop(mine, None)  # None: somebody took it for a dead one's
                alone = written is not None and all(each < written - _CLAIM_S * 1e9 for each in found.values())
                # A rival may have come and gone; others may soon take this very claim for a dead one's.
                if alone and self._holder() == dead and time.monotonic() - begun < _CLAIM_S / 2:
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
        """Make the lock file of this machine, whole; that of a ``dead`` owner, or a torn one, is replaced."""
        folder = Path(self._place.inside)
        folder.mkdir(parents=True, exist_ok=True)
        lock, fresh = folder / self._name, folder / f".{self._name}.{self.owner.token}.tmp"
        fresh.write_bytes(_content(self.owner))
        try:
            with contextlib.suppress(TimeoutError), self._guarded():
                if self._holder() != dead:
                    return  # another one was faster, or who seemed dead has renewed it
                if lock.exists():
                    os.replace(fresh, lock)
                    return
                try:
                    os.link(fresh, lock)
                except FileExistsError:
                    return
                except OSError:  # a file system without hard links
                    with contextlib.suppress(FileExistsError), lock.open("xb") as file:
                        file.write(_content(self.owner))
        finally:
            fresh.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Alone among those who look at the lock and then write it, on this machine, or where all machines that see
        the folder share its ``flock``. The system gives it back when a process ends, however it does."""
        if self._place.everywhere:
            yield
            return
        descriptor = os.open(self._place.inside, os.O_RDONLY)
        try:
            ends = time.monotonic() + _GUARDED_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > ends:
                        raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked") from None
                    time.sleep(0.01)
                except OSError:  # a file system without it: two at one moment find out at a heartbeat
                    break
            yield
        finally:
            os.close(descriptor)

    def _write(self) -> None:
        self._place.write(self._name, _content(self.owner))

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            try:
                with self._guarded():
                    holder = self._holder()
                    mine = holder is not None and holder.token == self.owner.token
                    if mine:
                        self.owner = replace(self.owner, renewed=time.time())
                        self._write()
                if not mine:
                    if not self._ended.is_set():
                        self._lost(holder)
                    return
            except (OSError, UserError) as error:  # a full disk, a store that is away: the next beat may come through
                log.debug("the run's lock was not renewed: %s", error)


def read_owner(place: Folder, name: str = LOCK) -> Owner | None:
    """Who has the lock on ``place``, dead or alive; None where nobody has, or the file is torn."""
    content = place.read(name)
    return None if content is None else _parsed(content)


def is_alive(place: Folder, owner: Owner, name: str = LOCK) -> bool:
    """Whether the owner of the lock on ``place`` lives. May watch the lock for two heartbeats, or for ``STALE_S`` where
    it was renewed in what is the future here."""
    if owner.machine == _machine():
        started = _started(owner.pid)
        return started is not None and (started == owner.started or not owner.started)
    age = time.time() - owner.renewed
    if abs(age) < STALE_S:
        return True
    ends = time.monotonic() + (2 * HEARTBEAT_S if age > 0 else STALE_S)
    while time.monotonic() < ends:
        time.sleep(min(1.0, HEARTBEAT_S))
        if read_owner(place, name) != owner:
            return True  # renewed, given back or taken by another: whoever asks next will know
    return False


def _interrupt(holder: Owner | None) -> None:
    log.error("this run's lock on the output folder was taken by %s: the run ends", holder or "nobody that is known")
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as a script's shell sets it for what runs with "&"
    os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)


def _content(owner: Owner) -> bytes:
    return (json.dumps(asdict(owner), indent=1) + "\n").encode()


def _parsed(content: bytes) -> Owner | None:
    """The owner, where each field is of its type; times are finite, and such as a calendar has."""
    try:
        found = Owner(**json_of(content))
        texts = (found.token, found.command, found.host, found.machine)
        if not all(type(each) is str for each in texts) or not all(type(n) is int for n in (found.pid, found.started)):
            return None
        time.gmtime(found.since)  # what is no number, or beyond all years, raises
        return found if math.isfinite(found.renewed) else None
    except (ValueError, TypeError, OverflowError, OSError):
        return None


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
