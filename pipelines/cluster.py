"""Which Ray a command runs on: one of its own, or the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

import grpc
import ray
from ray._private import services
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.grpc_utils import init_grpc_channel
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest  # type: ignore[attr-defined]  # made when it loads
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

from patent_embed.errors import UserError

_log_of_tokens = logging.getLogger(maybe_enable_token_auth_if_token_available.__module__)
_PATIENCE_S = 6.0  # for the answer of a cluster
_PAUSE_S = 1.0  # between two tries where nobody listens
_NOBODY = "nobody answers there"
_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def told_address(environ: Mapping[str, str] = os.environ) -> str | None:
    """RAY_ADDRESS, as a Ray job has it; None: the command starts a Ray of its own.

    Without it nothing is joined, also where ``ray start`` left the address of a cluster on this machine: that one may
    have ended, and whoever looks for it then waits ten minutes.
    """
    told = environ.get("RAY_ADDRESS", "").strip()
    return told if told not in ("", "local") else None


def cluster_to_join(environ: Mapping[str, str] = os.environ, patience: float = _PATIENCE_S) -> str | None:
    """``HOST:PORT`` of the cluster that RAY_ADDRESS names, which has answered; None: the command starts Ray.

    Raises:
        UserError: the address is of another kind, or nobody answers there within ``patience`` seconds, or not to us.
    """
    told = told_address(environ)
    if told is None:
        return None
    if told == "auto":
        address = _running_here()
        _log_of_tokens.setLevel(logging.ERROR)  # it tells of what it was asked for
        maybe_enable_token_auth_if_token_available(warn_if_disabled=False)  # as Ray does before it joins
    else:
        address = _host_and_port(told)
    if said := _refusal(address, patience):
        raise UserError(
            f"RAY_ADDRESS={told}: {said}; name the head of a cluster that runs, or unset RAY_ADDRESS and the command "
            "starts a Ray of its own"
        )
    return address


def joinable_here() -> str | None:
    """The cluster that ``ray start`` began on this machine, which RAY_ADDRESS=auto would join; None where none runs."""
    left = services.find_bootstrap_address(None)
    return left if left and _refusal(left, 0.0) != _NOBODY else None


def _host_and_port(told: str) -> str:
    """What can be connected to. Raises UserError for addresses of other kinds."""
    if "://" in told:
        advice = {
            "ray": "that is the address of a Ray client, which cannot run this",
            "http": "that is the address of a dashboard, for RAY_API_SERVER_ADDRESS and ray job submit",
            "https": "that is the address of a dashboard, for RAY_API_SERVER_ADDRESS and ray job submit",
        }.get(urlsplit(told).scheme, "that is no address of a cluster")
        raise UserError(
            f"RAY_ADDRESS={told}: {advice}; set it to the head's HOST:6379 on a node of the cluster, or unset it and "
            "submit the command: ray job submit --working-dir . -- python pipelines/run.py"
        )
    host, colon, port = told.rpartition(":")
    if not colon or not host.strip("[]") or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UserError(f"RAY_ADDRESS={told} is not HOST:PORT; the head of a cluster usually listens at HOST:6379")
    return told


def _running_here() -> str:
    """The cluster that ``ray start`` began on this machine, else the only one that runs here. Raises UserError where
    there is none, or none to be preferred."""
    left = services.find_bootstrap_address(None)
    found = [str(left)] if left else _running()
    if len(found) != 1:
        what = f"several clusters run on this machine ({', '.join(found)})" if found else "no cluster runs here"
        raise UserError(
            f"RAY_ADDRESS=auto: {what}; set it to the address of one, or unset it and the command starts a Ray of its "
            "own"
        )
    return found[0]


def _running() -> list[str]:
    """Addresses of all clusters that run on this machine."""
    services.find_gcs_addresses.cache_clear()  # type: ignore[attr-defined]  # Ray sets it
    return sorted(services.find_gcs_addresses())


def _refusal(address: str, patience: float) -> str:
    """Why nobody can join the cluster at ``address``, in words; empty: it has answered as one of ours."""
    end = time.monotonic() + patience
    with init_grpc_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        ask = NodeInfoGcsServiceStub(channel).CheckAlive
        while True:
            left = max(end - time.monotonic(), 1.0)
            try:
                version = ask(CheckAliveRequest(), timeout=left).ray_version
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and time.monotonic() + _PAUSE_S < end:
                    time.sleep(_PAUSE_S)  # a head may be about to come back
                    continue
                return _in_words(error)
            return "" if version in ("", ray.__version__) else f"it runs Ray {version}, here is {ray.__version__}"


def _in_words(error: grpc.RpcError) -> str:
    if error.code() in _SILENT:
        return _NOBODY
    if error.code() is grpc.StatusCode.UNAUTHENTICATED:
        return (
            "the cluster asks for its token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file that its "
            "nodes were started with"
        )
    return f"what answers there is no Ray cluster ({error.code().name.lower()})"
