"""Addresses of clusters: what is one, and what is said where nobody answers."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from patent_embed.errors import UserError
from pipelines.cluster import cluster_to_join, told_address


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({}, None),
        ({"RAY_ADDRESS": ""}, None),
        ({"RAY_ADDRESS": " "}, None),
        ({"RAY_ADDRESS": "local"}, None),
        ({"RAY_ADDRESS": "auto"}, "auto"),
        ({"RAY_ADDRESS": "head:6379"}, "head:6379"),
    ],
)
def test_what_a_command_is_told(environ: dict[str, str], told: str | None) -> None:
    assert told_address(environ) == told
    if told is None:
        assert cluster_to_join(environ) is None


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("ray://head:10001", "that is the address of a Ray client.* HOST:6379"),
        ("http://head:8265", "that is the address of a dashboard.* HOST:6379"),
        ("https://head", "that is the address of a dashboard"),
        ("s3://bucket", "that is no address of a cluster"),
        ("head", "is not HOST:PORT"),
        (":6379", "is not HOST:PORT"),
        ("head:port", "is not HOST:PORT"),
        ("head:99999", "is not HOST:PORT"),
        ("no-such-host.invalid:6379", "nobody answers there"),
    ],
)
def test_addresses_that_lead_to_no_cluster(address: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        cluster_to_join({"RAY_ADDRESS": address}, patience=0.1)
    assert f"RAY_ADDRESS={address}" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def silent() -> Iterator[str]:
    """A port where a connection is taken and nothing is ever said."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_silent_port_is_given_up(silent: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match="nobody answers there"):
        cluster_to_join({"RAY_ADDRESS": silent}, patience=1.5)
    assert time.monotonic() - started < 10


def test_a_closed_port_is_asked_again(silent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head may be about to come back."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, but nobody listens
        waits: list[float] = []
        monkeypatch.setattr("pipelines.cluster.time.sleep", waits.append)
        with pytest.raises(UserError, match="nobody answers there"):
            cluster_to_join({"RAY_ADDRESS": f"127.0.0.1:{unused.getsockname()[1]}"}, patience=1.5)
    assert waits


def test_another_service_is_no_cluster() -> None:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(UserError, match=r"nobody answers there|is no Ray cluster"):
            cluster_to_join({"RAY_ADDRESS": f"127.0.0.1:{server.server_address[1]}"}, patience=0.1)
    finally:
        server.shutdown()


@pytest.mark.parametrize(
    ("left", "running", "says"),
    [
        (None, [], "RAY_ADDRESS=auto: no cluster runs here"),
        (None, ["a:1", "b:2"], r"RAY_ADDRESS=auto: several clusters run on this machine \(a:1, b:2\)"),
        (None, ["127.0.0.1:1"], "RAY_ADDRESS=auto: nobody answers there"),
        ("127.0.0.1:1", ["a:1", "b:2"], "RAY_ADDRESS=auto: nobody answers there"),
    ],
)
def test_the_cluster_of_this_machine(
    left: str | None, running: list[str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray._private.services.find_bootstrap_address", lambda folder: left)
    monkeypatch.setattr("pipelines.cluster._running", lambda: running)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UserError, match=says):
        cluster_to_join({"RAY_ADDRESS": "auto"}, patience=0.1)
