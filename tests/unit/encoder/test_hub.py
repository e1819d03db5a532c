"""Where a model's folder comes from, and what only looks like one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from patent_embed.encoder.hub import require_weights, resolve_model
from patent_embed.errors import UserError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 409100000\n"


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
