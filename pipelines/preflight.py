"""What would end a run late, with a traceback, or never: looked for before anything starts, and told in one line.

``before_models`` asks what a look for models needs, ``before_ray`` the rest, once it is known which steps are to run.
Both together take less than half a minute, also where a cluster is silent. Each check is a function that raises
``UserError``: what is wrong, and what to set.
"""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in typeshed

import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._raylet import AuthenticationTokenLoader  # type: ignore[attr-defined]  # compiled
from ray.exceptions import AuthenticationError

from patent_embed.config.settings import Config
from patent_embed.encoder.bundled import BUNDLED, cache_root
from patent_embed.encoder.model_files import require_weights
from patent_embed.errors import UserError
from pipelines.cluster import cluster_to_join, told_address
from pipelines.disk import check_disk, check_writable
from pipelines.engine import Output, StepSpec
from pipelines.steps import negatives_graded, queries

_SOCKET_BYTES = 107  # of a Unix socket's path, at most
_SOCKET = "session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"  # below Ray's folder
_LOOPBACK = "127.0.0.1"

Environment = Mapping[str, str]


def before_models(models: Iterable[str], environ: Environment = os.environ) -> None:
    """What looking for ``models`` (hub ids, folders or bundled encoders' names) may fail at.

    Raises:
        UserError: a cache cannot be written, or the proxy cannot be used.
    """
    for model in models:
        if model in BUNDLED:
            check_cache(cache_root(), "*/modules.json", "PATENT_EMBED_CACHE")
        elif not Path(model).expanduser().is_dir():
            check_cache(hub_cache(environ), f"models--{model.replace('/', '--')}/snapshots/*", "HF_HOME")
            if environ.get("HF_HUB_OFFLINE", "0") in ("", "0"):
                check_socks(environ, f"model {model!r} is asked for at a hub")


def before_ray(
    config: Config,
    output: Output,
    unfinished: Sequence[StepSpec] = (),
    *,
    sweep: bool = False,
    environ: Environment = os.environ,
) -> None:
    """What the steps that are to run may fail at; nothing is asked where there is none.

    Args:
        sweep: trials are to run, which Ray's dashboard is asked about.

    Raises:
        UserError: of the first check that fails.
    """
    if not unfinished and not sweep:
        return
    if not ray.is_initialized():
        _check_session(sweep, environ)
    own = told_address(environ) is None
    if any(step.name.startswith((queries.NAME, negatives_graded.NAME)) for step in unfinished):
        _check_writing(config, own, environ)
    if not output.folder.everywhere:
        check_writable(Path(output.folder.address), "--output_dir")
        check_disk(Path(output.folder.address), config, unfinished, output.store.find)


def _check_session(sweep: bool, environ: Environment) -> None:
    """The cluster that is joined answers, or a Ray of our own can start."""
    if cluster_to_join(environ) is not None:
        return
    temporary = Path(get_default_ray_temp_dir())
    check_sockets(temporary)
    check_writable(temporary, "RAY_TMPDIR or TMPDIR")
    check_token(environ)
    if sweep:
        check_loopback("http", _LOOPBACK, environ)


def _check_writing(config: Config, own: bool, environ: Environment) -> None:
    """What a model that writes queries needs. ``own``: its workers have this process's environment."""
    if config.queries.backend == "llm" and (folder := Path(config.queries.llm.model)).is_dir():
        require_weights(folder)
    if config.queries.backend == "api" and own:
        check_socks(environ, "queries.backend is 'api'")
        endpoint = urlsplit(config.queries.api.base_url or "")
        if endpoint.hostname and is_loopback(endpoint.hostname):
            check_loopback(endpoint.scheme, endpoint.hostname, environ)


def check_socks(environ: Environment, why: str) -> None:
    """A SOCKS proxy needs a package beside the HTTP client; without it the client cannot even be made."""
    named = [name for name, value in environ.items() if name.lower() in _PROXIES and value.startswith("socks")]
    if named and importlib.util.find_spec("socksio") is None:
        raise UserError(
            f"{' and '.join(sorted(named))} names a SOCKS proxy, which cannot be used without the package socksio, and "
            f"{why}; pip install socksio, or unset the variable"
        )


def check_loopback(scheme: str, host: str, environ: Environment) -> None:
    """Requests to this machine itself must not go through a proxy, which reaches another one."""
    proxies = proxies_of(environ)
    if (scheme in proxies or "all" in proxies) and not proxy_bypass_environment(host, proxies):
        raise UserError(
            f"the proxy of the environment also catches requests to {host}, this machine itself; set "
            "no_proxy=localhost,127.0.0.1,::1 beside what it holds"
        )


def check_sockets(temporary: Path, pid: int | None = None) -> None:
    """Ray's sockets lie below its folder, and the path of a socket may not be long."""
    longest = temporary / _SOCKET.format(pid=pid or os.getpid())
    if (size := len(os.fsencode(longest))) > _SOCKET_BYTES:
        raise UserError(
            f"{temporary} is too long a path for Ray's sockets ({size} bytes with their names, at most "
            f"{_SOCKET_BYTES}); set RAY_TMPDIR to a shorter one, such as /tmp"
        )


def check_token(environ: Environment) -> None:
    """A Ray of our own asks for a token, which Ray keeps in the home folder where none is given."""
    if environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return
    try:
        if AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
            return
    except AuthenticationError as error:
        raise UserError(f"Ray's token cannot be read: {str(error).splitlines()[0]}") from None
    check_writable(Path.home() / ".ray", "HOME")


def check_cache(folder: Path, content: str, variable: str) -> None:
    """A cache that cannot be written must hold what is looked for: ``content`` is a pattern below it."""
    if not any(folder.glob(content)):
        check_writable(folder, variable)


def hub_cache(environ: Environment) -> Path:
    """Where huggingface_hub keeps models."""
    if chosen := environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE"):
        return Path(chosen)
    base = environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(environ.get("HF_HOME") or Path(base) / "huggingface") / "hub"


def is_loopback(host: str) -> bool:
    """Whether a host's name is one of this machine itself."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def proxies_of(environ: Environment) -> dict[str, str]:
    """Scheme → proxy as HTTP clients read them: small letters win. ``no``: who is reached without one."""
    found = {name.lower(): environ[name] for name in sorted(environ) if name.lower() in (*_PROXIES, "no_proxy")}
    return {name.removesuffix("_proxy"): value for name, value in found.items() if value}


_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
