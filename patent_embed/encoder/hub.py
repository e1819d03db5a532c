"""Where a model's folder comes from: this machine, a model hub, or the bundled encoder. Imports no torch."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from patent_embed.encoder.bundled import bundled_encoder
from patent_embed.errors import UserError

BUNDLED = "bundled"
_NOT_WEIGHTS = ["*.onnx", "onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.tflite", "coreml/*"]
_LFS_HEAD, _LFS_BYTES = b"version https://git-lfs.github.com/spec/", 1024  # of a pointer: its beginning, its size
_HUB_TIMEOUT = 10.0  # seconds until a silent hub counts as unreachable


def resolve_model(name: str, *, trust_remote_code: bool = False) -> Path:
    """The local folder of a model: a folder, ``bundled``, or a hub id.

    A hub id is looked up at the Hugging Face hub (HF_ENDPOINT and HF_HUB_OFFLINE honoured, its cache used), then at
    ModelScope where that package is installed. ``trust_remote_code`` also fetches the model's own Python files.

    Raises:
        UserError: no such folder, its weights are not there, or no hub has the model or can be reached.
    """
    if name == BUNDLED:
        return bundled_encoder()
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
            raise UserError(
                f"model folder {name!r} holds neither modules.json nor config.json, so it is no model; "
                "name the folder that does"
            )
        require_weights(folder)
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise UserError(
            f"model {name!r} is neither an existing folder nor a hub id such as 'BAAI/bge-base-zh-v1.5'; "
            f"correct --model_name, or use {BUNDLED!r}"
        )
    unwanted = _NOT_WEIGHTS if trust_remote_code else [*_NOT_WEIGHTS, "*.py"]
    try:
        return _from_hugging_face(name, unwanted)
    # The clients raise a dozen kinds: offline, unreachable, absent, gated, interrupted.
    except Exception as error:  # noqa: BLE001
        hugging_face = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    model_scope = "not installed"
    if importlib.util.find_spec("modelscope"):
        from modelscope import snapshot_download  # type: ignore[import-not-found]

        try:
            return Path(snapshot_download(name, ignore_patterns=unwanted))
        except Exception as error:  # noqa: BLE001
            model_scope = f"{type(error).__name__}: {error}"
    raise UserError(
        f"model {name!r} was found nowhere. Local folder: no such folder. Hugging Face hub: {hugging_face}. "
        f"ModelScope: {model_scope}. Set HF_ENDPOINT to a mirror that you reach, name a local folder, or use "
        f"--model_name {BUNDLED}, which needs no hub"
    )


def require_weights(folder: Path) -> None:
    """Refuse a folder that was cloned without Git LFS: small files of three lines stand where weights should be.

    Raises:
        UserError: it holds such a file.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size <= _LFS_BYTES and path.read_bytes().startswith(_LFS_HEAD):
            raise UserError(
                f"model folder {str(folder)!r} was cloned without Git LFS: {path.relative_to(folder).as_posix()} is "
                "only a pointer; run git lfs pull in it, or fetch the model from its hub"
            )


def _from_hugging_face(name: str, unwanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(ignored: list[str]) -> Path:
        return Path(snapshot_download(name, ignore_patterns=ignored, etag_timeout=_HUB_TIMEOUT))

    folder = fetch([*unwanted, "*.bin", "*.pt", "*.pth"])
    return folder if any(folder.rglob("*.safetensors")) else fetch(unwanted)
