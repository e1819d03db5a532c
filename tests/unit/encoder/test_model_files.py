"""Model folders in which something is missing, torn, or of another model: refused by name, and nothing is made up."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.hub import resolve_model
from patent_embed.encoder.model_files import require_model, require_weights, torn
from patent_embed.errors import UserError

WEIGHTS = "model.safetensors"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 409100000\n"


@pytest.fixture
def model(tmp_path: Path, tiny_model: Path) -> Path:
    return shutil.copytree(tiny_model, tmp_path / "model")


def settings(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_a_tokenizer(model: Path) -> None:
    for path in model.glob("tokenizer*"):
        path.unlink()


def in_shards(model: Path) -> None:
    (model / WEIGHTS).rename(model / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (model / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": shards}))


def cut(model: Path) -> None:
    content = (model / WEIGHTS).read_bytes()
    (model / WEIGHTS).write_bytes(content[: len(content) // 2])


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda m: (m / WEIGHTS).unlink(), r"there are no weights \(model\.safetensors or"),
    "empty": (lambda m: (m / WEIGHTS).write_bytes(b""), r"model\.safetensors is torn: it has 0 bytes"),
    "cut": (cut, r"model\.safetensors is torn: it has [\d,]+ bytes, its header tells of"),
    "zeros": (lambda m: (m / WEIGHTS).write_bytes(bytes(4096)), r"its header is not one of safetensors"),
    "a shard": (in_shards, r"model-00002-of-00002\.safetensors is missing"),
    "pointer": (lambda m: (m / WEIGHTS).write_bytes(POINTER), r"only a pointer; run git lfs"),
    "pointer below": (lambda m: (m / "1_Pooling" / "x").write_bytes(POINTER), r"1_Pooling/x is only a pointer"),
    "config": (lambda m: (m / "config.json").write_text("{"), r"config\.json is torn"),
    "config list": (lambda m: (m / "config.json").write_text("[]"), r"config\.json holds no settings"),
    "no config": (lambda m: (m / "config.json").unlink(), r"config\.json is missing"),
    "modules": (lambda m: (m / "modules.json").write_text("[{"), r"modules\.json is torn"),
    "tokenizer": (lambda m: (m / "tokenizer.json").write_text("{"), r"tokenizer\.json is torn"),
    "no tokenizer": (without_a_tokenizer, r"no files of a tokenizer .* all words would be unknown"),
    "pooling": (
        lambda m: settings(m / "1_Pooling" / "config.json", word_embedding_dimension=9, embedding_dimension=9),
        r"pools 9 numbers a token, the model has 32",
    ),
}


@pytest.mark.parametrize("fault", FOLDERS)
def test_a_folder_that_is_not_whole_is_refused_before_anything_starts(model: Path, fault: str) -> None:
    spoil, message = FOLDERS[fault]
    spoil(model)
    for refused in (lambda: resolve_model(str(model)), lambda: Encoder.load(model)):
        with pytest.raises(UserError, match=message) as told:
            refused()
        assert "\n" not in str(told.value)


def missing_layer(model: Path) -> None:
    save_file({k: v for k, v in load_file(model / WEIGHTS).items() if "layer.1" not in k}, model / WEIGHTS)


def other_shape(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    name = next(name for name in tensors if "layer.1" in name and tensors[name].ndim == 2)
    save_file(tensors | {name: tensors[name][:, :8].contiguous()}, model / WEIGHTS)


def fewer_tokens(model: Path) -> None:
    tensors = load_file(model / WEIGHTS)
    name = next(name for name in tensors if name.endswith("word_embeddings.weight"))
    save_file(tensors | {name: tensors[name][:100].contiguous()}, model / WEIGHTS)
    settings(model / "config.json", vocab_size=100)


WHOLE_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights": (missing_layer, r"16 of its weights are missing \(encoder\.layer\.1\..*, …\), and would be random"),
    "dimensions": (other_shape, r"other dimensions than its config\.json says \(encoder\.layer\.1\."),
    "tokens": (fewer_tokens, r"embeddings of 100 tokens, its tokenizer gives ids up to"),
    "type": (lambda m: settings(m / "config.json", model_type="nonesuch"), r"\(of no known type\) cannot be loaded"),
    "setting": (lambda m: settings(m / "config.json", hidden_size="x"), r"cannot be (loaded|used)|pools"),
}


@pytest.mark.parametrize("fault", WHOLE_FILES)
def test_weights_are_never_made_up(model: Path, fault: str) -> None:
    spoil, message = WHOLE_FILES[fault]
    spoil(model)
    with pytest.raises(UserError, match=message) as told:
        Encoder.load(model)
    assert "\n" not in str(told.value)


def test_a_pooler_may_be_missing(model: Path) -> None:
    before = Encoder.load(model).encode(["一种装置"])
    save_file({k: v for k, v in load_file(model / WEIGHTS).items() if "pooler" not in k}, model / WEIGHTS)
    assert (Encoder.load(model).encode(["一种装置"]) == before).all()


def test_a_whole_folder_is_accepted(model: Path) -> None:
    require_model(model)
    assert torn(model / WEIGHTS) == ""


@pytest.mark.parametrize("content", [bytes(4096), POINTER + bytes(4096), b"version 1", b""])
def test_what_is_no_pointer(tmp_path: Path, content: bytes) -> None:
    (tmp_path / WEIGHTS).write_bytes(content)
    require_weights(tmp_path)
