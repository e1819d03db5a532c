"""`patent-embed verify` on a finished run: programs that serve its model, and such that do it wrongly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from patent_embed.encoder.export import require_packages
from patent_embed.errors import UserError
from tests.e2e.commands import patent_embed_here
from tests.e2e.searching import server

pytestmark = [pytest.mark.ray, pytest.mark.slow]
TOKEN = "0123456789abcdef-of-a-test"


@pytest.fixture(scope="module")
def output(finished: tuple[tuple[str, ...], Path, object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run, whose own folder other tests look at."""
    return Path(shutil.copytree(finished[1], tmp_path_factory.mktemp("verify") / "out"))


def shown_in(output: Path) -> list[str]:
    return [(output / name).read_text() for name in ("report.md", "report.html", "model/README.md")]


def test_programs_that_read_the_folder_serve_what_was_measured(output: Path) -> None:
    try:
        require_packages("openvino")
    except UserError as missing:
        pytest.skip(str(missing))
    engines = ("sentence-transformers", "onnx", "openvino")
    done = patent_embed_here("verify", output, "--engines", *engines)
    assert done.stdout.count("as measured") == 3
    found = json.loads((output / "verified.json").read_text())
    assert [each["engine"] for each in found["engines"]] == list(engines)
    for each in found["engines"]:
        assert each["cosine_min"] >= 0.999
        assert each["overlap"] >= 0.99
        assert each["ndcg"] == pytest.approx(found["ndcg"], abs=0.02)
        assert each["texts_per_s"] > 0
    for text in shown_in(output):
        assert "Served as measured" in text
        assert "openvino" in text
    # A second look takes the first one's place.
    patent_embed_here("verify", output)
    for text in shown_in(output):
        assert text.count("Served as measured") == 1
        assert "openvino" not in text.partition("Served as measured")[2].partition("end of served as measured")[0]


def test_a_run_that_is_repeated_keeps_the_table(finished, output: Path) -> None:
    from tests.e2e.commands import run_here

    patent_embed_here("verify", output)
    arguments = list(finished[0])
    arguments[arguments.index("--output_dir") + 1] = str(output)
    run_here(*arguments)
    assert all("Served as measured" in text for text in shown_in(output))


def test_what_an_exported_folder_does_wrongly_is_named(output: Path) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra [export]")
    patent_embed_here("export", output, "--format", "onnx")
    about = output / "export/onnx/config_sentence_transformers.json"
    about.write_text(json.dumps({"prompts": {"query": "", "passage": ""}}))
    done = patent_embed_here("verify", output, "--engines", "onnx", check=2)
    told = "a forgotten prompt: nothing is put before queries (the model wants '问')"
    assert f"1 of 1 engines do not serve what was measured: onnx: {told}" in done.stderr
    for text in shown_in(output):
        assert "a forgotten prompt: nothing is put before queries" in text
        assert "differs" in text
    shutil.rmtree(output / "export")


def test_endpoints(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", TOKEN)
    with server(output, token=TOKEN) as running:
        url = f"{running.url}/v1"
        done = patent_embed_here("verify", output, "--engines", url)
        assert "as measured" in done.stdout
        monkeypatch.setenv("OPENAI_API_KEY", wrong := "sk-wrong-0123456789abcdef")
        done = patent_embed_here("verify", output, "--engines", url, check=2)
        assert "gives no embeddings (HTTP 401" in done.stderr
    for path in output.rglob("*"):
        if path.is_file() and path.suffix in (".json", ".md", ".html", ".jsonl", ".yaml"):
            assert not {TOKEN, wrong} & set(path.read_text(errors="replace").split('"'))
    # What the others serve is measured and told, whatever one of them says.
    done = patent_embed_here("verify", output, "--engines", url, "sentence-transformers", check=2)
    assert "gives no embeddings" in done.stderr
    assert done.stdout.count("not asked: ") == done.stdout.count("as measured") == 1
    assert [each["engine"] for each in json.loads((output / "verified.json").read_text())["engines"]] == [
        "sentence-transformers"
    ]
    assert wrong not in done.stdout + done.stderr


def test_what_cannot_be_verified_is_said(output: Path, tmp_path: Path) -> None:
    assert "holds no finished run" in patent_embed_here("verify", tmp_path, check=2).stderr
    done = patent_embed_here("verify", output, "--engines", "triton", check=2)
    assert "--engines is 'triton', which is none of sentence-transformers, onnx, openvino, vllm" in done.stderr
    assert "stands for an address" in patent_embed_here("verify", output, "--engines", "URL", check=2).stderr
