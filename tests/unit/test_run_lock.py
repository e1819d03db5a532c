"""Who may work in an output folder: one at a time, and after it died the next."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import pytest

from patent_embed import run_lock
from patent_embed.errors import UserError
from patent_embed.folders import Folder, folder_at
from patent_embed.run_lock import LOCK, Held, Owner, RunLock, read_owner

HOLDS = """
import sys, time
from patent_embed.folders import folder_at
from patent_embed.run_lock import RunLock
lock = RunLock(folder_at(sys.argv[1]), "run")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(params=["here", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.setattr(run_lock, "_BACKS_OFF_S", 0.05)
    if request.param == "here":
        return folder_at(tmp_path / "out")
    return folder_at(f"{request.getfixturevalue('s3')}/{tmp_path.name}/out")


def elsewhere(place: Folder, **changes: float) -> Owner:
    """The lock of an owner on another machine."""
    now = time.time()
    owner = Owner("t", "run", "other", "other 1", pid=1, started=1, since=now, renewed=now)
    owner = dataclasses.replace(owner, **changes)
    place.write(LOCK, json.dumps(dataclasses.asdict(owner)).encode())
    return owner


def test_the_second_is_told_who_is_there(place: Folder) -> None:
    lock = RunLock(place, "tune")
    with pytest.raises(Held, match=rf"is in use by `tune`, process {os.getpid()} on .*: two runs would remove"):
        RunLock(place, "run")
    lock.release()
    assert read_owner(place) is None
    again = RunLock(place, "run")
    assert again.taken_over is None
    again.release()


def test_of_several_at_once_one_has_it(place: Folder) -> None:
    held, refused, start = list[RunLock](), list[Held](), threading.Barrier(8)

    def take() -> None:
        start.wait()
        try:
            held.append(RunLock(place, "run", lost=lambda _: None))  # the default would interrupt all tests
        except Held as error:
            refused.append(error)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(held), len(refused)) == (1, 7)
    held[0].release()


def test_a_killed_owner_is_taken_over_and_a_stopped_one_is_not(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, tmp_path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(Held, match=f"process {process.pid} on"):
            RunLock(folder_at(tmp_path), "run")
    finally:
        process.kill()
        process.wait()
    lock = RunLock(folder_at(tmp_path), "run")
    assert lock.taken_over is not None
    assert lock.taken_over.pid == process.pid
    assert [path.name for path in tmp_path.iterdir()] == [LOCK]  # nothing is left of the dead one's
    lock.release()


def test_a_number_that_was_given_again_is_another_process(place: Folder) -> None:
    lock = RunLock(place, "run")
    lock.release()
    before = dataclasses.replace(lock.owner, started=lock.owner.started - 1)
    place.write(LOCK, json.dumps(dataclasses.asdict(before)).encode())
    again = RunLock(place, "run")
    assert again.taken_over == before
    again.release()


def test_an_owner_elsewhere_is_dead_when_its_heart_is_still(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.05)
    owner = elsewhere(place)
    with pytest.raises(Held, match="on other"):
        RunLock(place, "run")
    old = elsewhere(place, renewed=owner.renewed - 2 * run_lock.STALE_S)
    lock = RunLock(place, "run")
    assert lock.taken_over == old
    lock.release()


def test_a_wrong_clock_kills_nobody(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.5)
    owner = elsewhere(place, renewed=0.0)
    beat = dataclasses.replace(owner, renewed=1.0)
    timer = threading.Timer(0.2, lambda: place.write(LOCK, json.dumps(dataclasses.asdict(beat)).encode()))
    timer.start()
    with pytest.raises(Held):
        RunLock(place, "run")
    timer.join()


def test_the_owner_renews_it_and_ends_when_another_has_it(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.05)
    lost, told = threading.Event(), list[Owner | None]()
    lock = RunLock(place, "run", lambda holder: (told.append(holder), lost.set()))
    first = read_owner(place)
    while read_owner(place) == first:
        pass
    lock._ended.set()  # its next beat must not come between the two writes below
    lock._heart.join()
    other = dataclasses.replace(lock.owner, token="another")
    place.write(LOCK, json.dumps(dataclasses.asdict(other)).encode())
    lock._ended.clear()
    lock._beat()
    assert lost.is_set()
    assert told == [other]
    lock.release()
    assert read_owner(place) == other  # it is not ours to give back


OWNER = {"token": "t", "command": "run", "host": "h", "machine": "m", "pid": 1, "started": 1}


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"[]", b'{"token": 1}', b"\xff"),
        json.dumps({**OWNER, "since": 1e30, "renewed": 2e9}).encode(),  # no calendar has it
        json.dumps({**OWNER, "since": 0, "renewed": math.nan}).encode(),
        json.dumps({**OWNER, "since": 0, "renewed": 10**400}).encode(),
        json.dumps({**OWNER, "since": 0, "renewed": 2e9, "host": ["h"]}).encode(),
        json.dumps({**OWNER, "since": 0, "renewed": 2e9, "pid": 1.5}).encode(),
    ],
)
def test_a_torn_lock_keeps_nobody_out(place: Folder, content: bytes) -> None:
    place.write(LOCK, content)
    RunLock(place, "run").release()


def test_a_dead_owner_whose_clock_was_ahead_is_taken_over(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(run_lock, "STALE_S", 1.0)
    dead = elsewhere(place, renewed=time.time() + 86_400)
    with RunLock(place, "run") as lock:
        assert lock.taken_over == dead


def test_a_living_owner_whose_clock_is_ahead_is_seen_to_live(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "HEARTBEAT_S", 0.05)
    owner = elsewhere(place, renewed=time.time() + 86_400)
    beat = dataclasses.replace(owner, renewed=owner.renewed + 1)
    timer = threading.Timer(0.3, lambda: place.write(LOCK, json.dumps(dataclasses.asdict(beat)).encode()))
    timer.start()
    with pytest.raises(Held):
        RunLock(place, "run")
    timer.join()


def test_locks_of_two_names_are_two(place: Folder) -> None:
    with (
        RunLock(place, "run"),
        RunLock(place, "serve", name="other.lock"),
        pytest.raises(Held, match=r"`serve`.*remove .*other\.lock"),
    ):
        RunLock(place, "serve", name="other.lock")
    assert (read_owner(place), read_owner(place, "other.lock")) == (None, None)


def test_of_several_who_find_a_dead_owner_one_has_it(tmp_path: Path) -> None:
    """None sees the folder without a lock meanwhile, either."""
    place = folder_at(tmp_path)
    lock = RunLock(place, "run")
    lock.release()
    if 1:
        me = lock.owner
    for _ in range(30):
        dead = dataclasses.replace(me, token=uuid.uuid4().hex, started=me.started - 1)
        place.write(LOCK, json.dumps(dataclasses.asdict(dead)).encode())
        held, start = list[RunLock](), threading.Barrier(8)

        def take(held: list[RunLock] = held, start: threading.Barrier = start) -> None:
            start.wait()
            with contextlib.suppress(Held):
                held.append(RunLock(place, "run", lost=lambda _: None))

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert (tmp_path / LOCK).exists()
        assert [lock.taken_over for lock in held] == [dead]
        held[0].release()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"file/out' cannot be written \(Not a directory\).*set --output_dir"):
        RunLock(folder_at(tmp_path / "file" / "out"), "run")


def test_the_claim_of_a_dead_process_is_passed(place: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    if not place.everywhere:
        pytest.skip("claims are for stores")
    monkeypatch.setattr(run_lock, "_CLAIM_S", 2.5)  # a store counts whole seconds
    claims = place / f"{LOCK}{run_lock._CLAIMS}"
    claims.write("a dead process's", b"")
    begun = time.monotonic()
    RunLock(place, "run").release()
    assert time.monotonic() - begun > 1.0  # it may have lived, until then
    assert claims.entries() == []
