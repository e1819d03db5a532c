"""Where a model's folder comes from: this machine, a model hub, or the bundled encoder. Imports no torch."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from patent_embed.encoder.bundled import bundled_encoder
from patent_embed.encoder.model_files import require_model
from patent_embed.errors import UserError

BUNDLED = "bundled"
_NOT_WEIGHTS = ["*.onnx", "onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.tflite", "coreml/*"]
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
        require_model(folder)
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise UserError(
            f"model {name!r} is neither an existing folder nor a hub id such as 'BAAI/bge-base-zh-v1.5'; "
            f"correct --model_name, or use {BUNDLED!r}"
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
            return Path(snapshot_download(name, ignore_patterns=unwanted))
        except Exception as error:  # noqa: BLE001
            model_scope = f"{type(error).__name__}: {error}"
    raise UserError(
        f"model {name!r} was found nowhere. Local folder: no such folder. Hugging Face hub: {hugging_face}. "
        f"ModelScope: {model_scope}. Set HF_ENDPOINT to a mirror that you reach, name a local folder, or use "
        f"--model_name {BUNDLED}, which needs no hub"
    )


def _from_hugging_face(name: str, unwanted: list[str]) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(ignored: list[str]) -> Path:
        return Path(snapshot_download(name, ignore_patterns=ignored, etag_timeout=_HUB_TIMEOUT))

    folder = fetch([*unwanted, "*.bin", "*.pt", "*.pth"])
    return folder if any(folder.rglob("*.safetensors")) else fetch(unwanted)
