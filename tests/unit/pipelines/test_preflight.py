"""Checks before a run starts: each refuses what it is about, in one line that says what to set, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from patent_embed.errors import UserError
from pipelines import preflight
from pipelines.preflight import (
    before_models,
    check_cache,
    check_loopback,
    check_sockets,
    check_socks,
    check_token,
    hub_cache,
    is_loopback,
    proxies_of,
)

SOCKS = "socks5h://user:secret@127.0.0.1:9"
HTTP = "http://user:secret@127.0.0.1:9"
NOWHERE = Path("/proc/nowhere/x")  # not to be made, by root neither


def refusal(check: Callable[[], None]) -> str:
    """What a check says; empty where it lets pass."""
    said = ""
    try:
        check()
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    assert "secret" not in said
    return said


@pytest.mark.parametrize("installed", [False, True])
@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"ALL_PROXY": SOCKS}, "ALL_PROXY names"),
        ({"https_proxy": "socks4://x:1"}, "https_proxy names"),
        ({"HTTP_PROXY": SOCKS, "HTTPS_PROXY": SOCKS}, "HTTPS_PROXY and HTTP_PROXY name"),
        ({"HTTP_PROXY": HTTP}, ""),
        ({"FTP_PROXY": SOCKS}, ""),
        ({}, ""),
    ],
)
def test_socks(environ: dict[str, str], named: str, installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    said = refusal(lambda: check_socks(environ, "the model is asked for at a hub"))
    assert said.startswith("" if installed else named)
    assert bool(said) == (bool(named) and not installed)


@pytest.mark.parametrize(
    ("environ", "passes"),
    [
        ({}, True),
        ({"http_proxy": HTTP}, False),
        ({"HTTP_PROXY": HTTP}, False),
        ({"ALL_PROXY": HTTP}, False),
        ({"https_proxy": HTTP}, True),
        ({"HTTP_PROXY": HTTP, "NO_PROXY": "localhost,127.0.0.1"}, True),
        ({"http_proxy": HTTP, "no_proxy": "localhost"}, False),
        ({"http_proxy": HTTP, "no_proxy": "*"}, True),
        ({"http_proxy": "", "HTTP_PROXY": HTTP}, True),
    ],
)
def test_a_proxy_that_catches_loopback(environ: dict[str, str], passes: bool) -> None:
    said = refusal(lambda: check_loopback("http", "127.0.0.1", environ))
    assert (said == "") == passes
    assert passes or "set no_proxy=localhost,127.0.0.1,::1" in said


def test_small_letters_win_among_proxies() -> None:
    assert proxies_of({"HTTP_PROXY": "a", "http_proxy": "b", "NO_PROXY": "c", "PROXY": "d"}) == {"http": "b", "no": "c"}


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("a.b", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) == loopback


@pytest.mark.parametrize(("folder", "passes"), [("/tmp/ray", True), ("/t" * 23, True), ("/t" * 23 + "t", False)])
def test_sockets_have_room(folder: str, passes: bool) -> None:
    """61 bytes follow the folder, with a process's number of four digits."""
    said = refusal(lambda: check_sockets(Path(folder), pid=1234))
    assert (said == "") == passes
    assert passes or "set RAY_TMPDIR to a shorter one" in said


def test_sockets_are_measured_in_bytes() -> None:
    assert "110 bytes" in refusal(lambda: check_sockets(Path("/" + "夹" * 16), pid=1234))


def test_a_full_cache_need_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "modules.json").touch()
    monkeypatch.setattr(preflight, "check_writable", lambda folder, setting: pytest.fail("asked"))
    check_cache(tmp_path, "*/modules.json", "HOME")


@pytest.mark.parametrize(
    ("environ", "folder"),
    [
        ({"HF_HUB_CACHE": "/a"}, "/a"),
        ({"HF_HOME": "/b"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({}, "/home/me/.cache/huggingface/hub"),
    ],
)
def test_where_the_hub_keeps_models(environ: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert hub_cache(environ) == Path(folder)


@pytest.mark.parametrize(
    ("model", "environ", "says"),
    [
        ("bundled", {}, "'/proc/nowhere/x' cannot be written"),
        ("a/b", {"HF_HOME": str(NOWHERE)}, "'/proc/nowhere/x/hub' cannot be written"),
        ("a/b", {"HF_HOME": "/tmp", "ALL_PROXY": SOCKS}, "ALL_PROXY names a SOCKS proxy"),
        ("a/b", {"HF_HOME": "/tmp", "ALL_PROXY": SOCKS, "HF_HUB_OFFLINE": "1"}, ""),
        ("/tmp", {"HF_HOME": str(NOWHERE), "ALL_PROXY": SOCKS}, ""),
    ],
)
def test_what_a_model_needs(model: str, environ: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATENT_EMBED_CACHE", str(NOWHERE))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert refusal(lambda: before_models([model], environ)).startswith(says)
    assert bool(says) == bool(refusal(lambda: before_models([model], environ)))


class NoToken:
    """Ray's own loader, where nobody has made a token."""

    @staticmethod
    def instance() -> NoToken:
        return NoToken()

    def has_token(self, ignore_auth_mode: bool) -> bool:
        return False


@pytest.mark.parametrize(
    ("mode", "asked"), [({}, True), ({"RAY_AUTH_MODE": "token"}, True), ({"RAY_AUTH_MODE": "disabled"}, False)]
)
def test_home_takes_a_token(mode: dict[str, str], asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(NOWHERE))
    monkeypatch.setattr(preflight, "AuthenticationTokenLoader", NoToken)
    assert bool(refusal(lambda: check_token(mode))) == asked
