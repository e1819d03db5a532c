"""Where a model's folder comes from: this machine, a model hub, or the bundled encoder. Imports no torch."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, Queue
from typing import Any, TypeVar, cast

from patent_embed.encoder.bundled import BUNDLED, bundled_encoder
from patent_embed.encoder.model_files import require_model
from patent_embed.errors import UserError

_NOT_WEIGHTS = ["*.onnx", "onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.tflite", "coreml/*"]
_HUB_TIMEOUT = 10.0  # seconds until a hub that is silent in one read counts as unreachable
# Clients try again and again, and read for ever what comes byte by byte: these bound all of it together.
FIRST_S = 60.0  # seconds until the first file of a model must be there
_MODEL_SCOPE_S = 1800.0  # for all of a download from ModelScope, whose cache is not looked at
STALLED_S = 180.0  # seconds after which a download that has not grown counts as stalled


def resolve_model(name: str, *, trust_remote_code: bool = False) -> Path:
    """The local folder of a model: a folder, a bundled encoder's name, or a hub id.

    A hub id is looked up at the Hugging Face hub (HF_ENDPOINT and HF_HUB_OFFLINE honoured, its cache used), then at
    ModelScope where that package is installed. ``trust_remote_code`` also fetches the model's own Python files.

    Raises:
        UserError: no such folder, its weights are not there, or no hub has the model or can be reached.
    """
    if name in BUNDLED:
        return bundled_encoder(multilingual=BUNDLED[name])
    folder = Path(name).expanduser()
    if folder.is_dir():
        require_model(folder)
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise UserError(
            f"model {name!r} is neither an existing folder nor a hub id such as 'BAAI/bge-base-zh-v1.5'; "
            f"correct --model_name, or use {' or '.join(map(repr, BUNDLED))}"
        )
    unwanted = _NOT_WEIGHTS if trust_remote_code else [*_NOT_WEIGHTS, "*.py"]
    try:
        fetched = _from_hugging_face(name, unwanted)
    # The clients raise a dozen kinds: offline, unreachable, absent, gated, interrupted.
    except Exception as error:  # noqa: BLE001
        hugging_face = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    else:
        require_model(fetched)
        return fetched
    model_scope = "not installed"
    if importlib.util.find_spec("modelscope"):
        from modelscope import snapshot_download  # type: ignore[import-not-found]

        try:
            return Path(
                within(lambda: snapshot_download(name, ignore_patterns=unwanted), "ModelScope", first_s=_MODEL_SCOPE_S)
            )
        except Exception as error:  # noqa: BLE001
            model_scope = f"{type(error).__name__}: {error}"
    raise UserError(
        f"model {name!r} was found nowhere. Local folder: no such folder. Hugging Face hub: {hugging_face}. "
        f"ModelScope: {model_scope}. Set HF_ENDPOINT to a mirror that you reach, name a local folder, or use "
        f"--model_name {' or '.join(BUNDLED)}, which need no hub"
    )


def _from_hugging_face(name: str, unwanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.errors import LocalEntryNotFoundError

    def fetch(ignored: list[str]) -> Path:
        return Path(snapshot_download(name, ignore_patterns=ignored, etag_timeout=_HUB_TIMEOUT))

    def fetch_all() -> Path:
        folder = fetch([*unwanted, "*.bin", "*.pt", "*.pth"])
        return folder if any(folder.rglob("*.safetensors")) else fetch(unwanted)

    kept = Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}"
    try:
        return within(fetch_all, f"{name} from the Hugging Face hub", kept)
    except TimeoutError:
        with contextlib.suppress(LocalEntryNotFoundError):  # of an earlier run, perhaps
            return Path(snapshot_download(name, ignore_patterns=unwanted, local_files_only=True))
        raise


T = TypeVar("T")


def within(
    call: Callable[[], T],
    what: str,
    growing: Path | None = None,
    *,
    first_s: float = FIRST_S,
    stalled_s: float = STALLED_S,
) -> T:
    """The result of a call that asks a hub, which must come in time.

    Args:
        call: runs in a thread of its own, which is left to itself where it is too slow.
        what: is asked for, for the error.
        growing: the folder that it fills: while that grows, there is time; None: there are ``first_s`` seconds.
        first_s: seconds until the folder must have grown first.
        stalled_s: seconds that it may then stay as it is.

    Raises:
        TimeoutError: it is too slow.
    """
    results = Queue[tuple[bool, Any]](1)

    def run() -> None:
        try:
            results.put((True, call()))
        except BaseException as error:  # noqa: BLE001  # raised where the result is waited for
            results.put((False, error))

    threading.Thread(target=run, daemon=True).start()
    size, grown, room = _size(growing), time.monotonic(), first_s
    while True:
        try:
            done, result = results.get(timeout=min(1.0, room))
        except Empty:
            now = time.monotonic()
            if (now_size := _size(growing)) != size:
                size, grown, room = now_size, now, stalled_s
            elif now - grown > room:
                raise TimeoutError(f"{what}: nothing came for {room:.0f} s") from None
            continue
        if done:
            return cast(T, result)
        raise result


def _size(folder: Path | None) -> int:
    """Bytes in a folder; what vanishes while it is looked at does not count."""
    total = 0
    for path in folder.rglob("*") if folder is not None and folder.is_dir() else ():
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total
