"""A model's folder on this machine: what is one, and what only looks like one."""

from __future__ import annotations

from pathlib import Path

import pytest

from patent_embed.encoder.hub import require_weights, resolve_model
from patent_embed.errors import UserError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 409100000\n"


@pytest.fixture
def cloned(tmp_path: Path) -> Path:
    """A model folder as ``git clone`` leaves it where Git LFS is not installed."""
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "model.safetensors").write_bytes(POINTER)
    return tmp_path


def test_pointers_are_no_weights(cloned: Path) -> None:
    for refused in (lambda: require_weights(cloned), lambda: resolve_model(str(cloned))):
        with pytest.raises(
            UserError, match=r"cloned without Git LFS: model\.safetensors is only a pointer; run git lfs"
        ):
            refused()


def test_pointers_further_down_are_found(cloned: Path) -> None:
    (cloned / "model.safetensors").rename(cloned / "1_Pooling" / "tokenizer.json")
    with pytest.raises(UserError, match=r"1_Pooling/tokenizer\.json is only a pointer"):
        require_weights(cloned)


@pytest.mark.parametrize("content", [bytes(4096), POINTER + bytes(4096), b"version 1", b""])
def test_what_is_no_pointer(cloned: Path, content: bytes) -> None:
    (cloned / "model.safetensors").write_bytes(content)
    assert resolve_model(str(cloned)) == cloned
