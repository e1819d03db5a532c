"""Whether a model's folder holds what it is made of, before anything is loaded: settings, weights, tokenizer.

Only the heads of weight files are read, so that a torn one of many gigabytes is known at once. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patent_embed.encoder.model_folder import read_sentence_transformer_files
from patent_embed.errors import UserError
from patent_embed.folders import json_of

_LFS_HEAD, _LFS_BYTES = b"version https://git-lfs.github.com/spec/", 1024  # of a pointer: its beginning, its size
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # each may be in shards, which an index names
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken", "*.spm", "tokenization_*.py")
_LENGTH_BYTES = 8  # at the beginning of a safetensors file: of its header, little-endian


def require_model(folder: Path) -> None:
    """Refuse a folder that an encoder cannot be loaded from, or only with weights or tokens that are made up.

    Raises:
        UserError: it is no model, or a file is missing, torn, or a pointer of Git LFS; the message names it.
    """
    if not (folder / "modules.json").is_file() and not (folder / "config.json").is_file():
        raise UserError(
            f"model folder {str(folder)!r} holds neither modules.json nor config.json, so it is no model; "
            "name the folder that does"
        )
    require_weights(folder)
    for path in (*folder.rglob("config.json"), *folder.rglob("tokenizer*.json"), *folder.rglob("*.index.json")):
        _json(folder, path)
    try:
        inside = read_sentence_transformer_files(folder).transformer
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unusable(folder, f"modules.json is torn or foreign ({type(error).__name__})") from None
    if not (inside / "config.json").is_file():
        raise _unusable(folder, f"{_name(folder, inside / 'config.json')} is missing")
    files = list(_weight_files(folder, inside))
    for path in files:
        if not path.is_file():
            raise _unusable(folder, f"{_name(folder, path)} is missing")
        if path.suffix == ".safetensors" and (fault := torn(path)):
            raise _unusable(folder, f"{_name(folder, path)} is torn: {fault}")
    if not any(any(inside.glob(pattern)) for pattern in _TOKENIZERS):
        raise _unusable(
            folder,
            f"there are no files of a tokenizer ({', '.join(_TOKENIZERS[:4])}): all words would be unknown to it",
        )


def require_weights(folder: Path) -> None:
    """Refuse a folder that was cloned without Git LFS: small files of three lines stand where weights should be.

    Raises:
        UserError: it holds such a file.
    """
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size <= _LFS_BYTES and path.read_bytes().startswith(_LFS_HEAD):
            raise UserError(
                f"model folder {str(folder)!r} was cloned without Git LFS: {_name(folder, path)} is "
                "only a pointer; run git lfs pull in it, or fetch the model from its hub"
            )


def torn(path: Path) -> str:
    """What is wrong with a safetensors file, by its length and what its header tells of; empty where nothing is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or length > size - _LENGTH_BYTES:
            return f"it has {size:,} bytes, which is less than its header"
        try:
            tensors = json_of(file.read(length))
            ends = [about["data_offsets"][1] for name, about in tensors.items() if name != "__metadata__"]
            expected = _LENGTH_BYTES + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError):
            return "its header is not one of safetensors"
    return "" if size == expected else f"it has {size:,} bytes, its header tells of {expected:,}"


def _weight_files(folder: Path, inside: Path) -> Iterator[Path]:
    """The files with the weights, as loading looks for them: safetensors first, whole before shards."""
    for name in _WEIGHTS:
        if (inside / name).is_file():
            yield inside / name
            return
        index = inside / f"{name}.index.json"
        if index.is_file():
            shards = _json(folder, index).get("weight_map")
            if not isinstance(shards, dict) or not all(isinstance(each, str) for each in shards.values()):
                raise _unusable(folder, f"{_name(folder, index)} names no weights")
            yield from (inside / shard for shard in sorted(set(shards.values())))
            return
    raise _unusable(folder, f"there are no weights ({' or '.join(_WEIGHTS)}, or an index of shards)")


def _json(folder: Path, path: Path) -> dict[str, Any]:
    try:
        found = json_of(path.read_bytes())
    except (OSError, ValueError) as error:
        raise _unusable(folder, f"{_name(folder, path)} is torn ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise _unusable(folder, f"{_name(folder, path)} holds no settings")
    return found


def _name(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _unusable(folder: Path, fault: str) -> UserError:
    return UserError(f"model folder {str(folder)!r} cannot be used: {fault}; fetch the model again, or name another")
