"""Where a model's folder comes from, and what only looks like one."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from patent_embed.encoder.hub import resolve_model, within
from patent_embed.errors import UserError


def test_resolve_local_and_wrong_names(tiny_model: Path, tmp_path: Path) -> None:
    assert resolve_model(str(tiny_model)) == tiny_model
    with pytest.raises(UserError, match=r"neither modules\.json nor config\.json"):
        resolve_model(str(tmp_path))
    for name in ("./no/such", "bert", "a/b/c"):
        with pytest.raises(UserError, match="neither an existing folder nor a hub id"):
            resolve_model(name)


@pytest.mark.parametrize("settings", [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}])
def test_unreachable_hubs_are_named(settings: dict[str, str], tmp_path: Path) -> None:
    code = """if 1:
        from patent_embed.encoder.hub import resolve_model
        from patent_embed.errors import UserError
        try: resolve_model("some-org/some-model")
        except UserError as error: print(error)"""
    environment = {"PATH": "/usr/bin", "HF_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path), **settings}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment, check=True
    )
    for word in ("'some-org/some-model'", "Local folder", "Hugging Face hub", "ModelScope", "--model_name bundled"):
        assert word in done.stdout


def hub(body: bytes) -> Iterator[str]:
    """A hub that accepts and then sends ``body``, a byte every tenth of a second, or nothing where there is none."""
    over = threading.Event()

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.recv(65536)
            for byte in body:
                connection.sendall(bytes([byte]))
                if over.wait(0.1):
                    return
            over.wait()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()


@pytest.mark.parametrize("body", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b" " * 1000])
def test_a_hub_that_says_nothing_is_given_up(body: bytes, tmp_path: Path, tiny_model: Path) -> None:
    """Or that says it byte by byte; a model of an earlier run is then taken from the cache."""
    code = """if 1:
        from patent_embed.encoder import hub
        from patent_embed.errors import UserError
        bounded = hub.within
        hub.within = lambda call, what, growing=None, **_: bounded(call, what, growing, first_s=2, stalled_s=2)
        try: print(hub.resolve_model("some-org/some-model"))
        except UserError as error: print(error)"""
    for address in hub(body):
        environment = {"PATH": "/usr/bin", "HF_HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
        command = {"args": [sys.executable, "-c", code], "env": environment | {"HF_ENDPOINT": address}}
        said = subprocess.run(**command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert "TimeoutError: some-org/some-model from the Hugging Face hub: nothing came for 2 s" in said
        kept = tmp_path / "hub" / "models--some-org--some-model"
        shutil.copytree(tiny_model, kept / "snapshots" / ("0" * 40))
        (kept / "refs").mkdir()
        (kept / "refs" / "main").write_text("0" * 40)
        said = subprocess.run(**command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert said.strip() == str(kept / "snapshots" / ("0" * 40))


def test_a_download_that_grows_has_time(tmp_path: Path) -> None:
    def grow() -> str:
        for number in range(8):
            (tmp_path / str(number)).write_text("x")
            time.sleep(0.2)
        return "done"

    assert within(grow, "x", tmp_path, first_s=0.9, stalled_s=0.9) == "done"
    with pytest.raises(ZeroDivisionError):
        within(lambda: 1 / 0, "x")
